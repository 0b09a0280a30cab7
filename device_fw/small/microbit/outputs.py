"""What the micro:bit has: its values, and what is desired of them."""

from microbit import Image, button_a, display, temperature

values = {"temperature": "20", "led": "OFF", "interval": "1000", "button": "0"}
due = {}  # to be reported


def all_due():
    """Report everything."""
    for name in values:
        due[name] = 1


def follow(name, value):
    """Set an output, or say why not."""
    if name in values:
        due[name] = 1
    if name == "led":
        if value not in ("ON", "OFF"):
            return "none of OFF, ON"
        display.show(Image("99999:" * 5) if value == "ON" else Image())
    elif name == "interval":
        if not value.isdigit() or not 50 <= int(value) <= 3600000:
            return "not between 50 and 3600000"
    else:
        return "read only" if name in values else "no such property"
    values[name] = value


def look(now, simulated):
    """Read what there is to read."""
    found = (
        18 + now // 1000 % 5 if simulated else temperature()
    )  # an emulator has no thermometer, and would wait for ever
    for name, value in (("temperature", found), ("button", int(values["button"]) + button_a.get_presses())):
        if values[name] != str(value):
            values[name] = str(value)
            due[name] = 1
