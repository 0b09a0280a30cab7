"""The hardware below the emulated board: what a program on a real board could not see either."""
