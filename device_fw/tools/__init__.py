"""What puts firmware on boards, on CPython."""
