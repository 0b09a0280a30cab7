"""The BBC micro:bit V1 (nRF51822, 16 kB of RAM, MicroPython 1.9) as a device: docs/serial-link.md in as little as it takes.

`led` (ON, OFF) lights the display, `interval` (ms) is how often it is looked, `temperature` is the chip's, `button` counts
presses of A. `device_fw.tools.microbit` makes a hex file of these files and a `config.py` with `NAME` and `SIMULATED`, without
words like these. There are several because the board compiles them, one at a time, on a heap of 8 kB.

It is compiled first, being the longest, and so it is given what it needs instead of importing it.

A message of its own is one frame; what it hears may be several, 160 bytes at most. It knows no time, and takes no firmware.
"""

import gc

from microbit import reset, running_time, sleep, uart

HEARTBEAT_MS = 60000
STATE = 1
REPORT = 2
DELTA = 3
WELCOME = 12


def obey(outputs, link, message):
    """Do what a delta says: `{"delta": {"led": "ON"}}`, without quotes within the values."""
    parts = str(message[message.find(b'"delta"') + 7 :], "utf-8").split('"')
    for at in range(1, len(parts) - 2, 4):
        why = outputs.follow(parts[at], parts[at + 2])
        if why:
            said = '{"state":"online","refused":{"%s":"%s"}}' % (parts[at], why)
            link.queue.append((STATE, bytes(said, "utf-8")))


def run(config, frames, outputs, link, take, tick):
    """Until the power goes."""
    values = outputs.values
    due = outputs.due
    looked = full = running_time()
    rest = b""
    while True:
        now = running_time()
        try:
            if uart.any():
                pieces = (rest + uart.read(48)).split(b"\0")
                rest = pieces.pop()[-80:]
                for piece in pieces:
                    body = frames.decode(piece)
                    said = body and take(link, body, now)
                    if said and said[0] == WELCOME:
                        outputs.all_due()
                    elif said and said[0] == DELTA:
                        obey(outputs, link, said[1])
                pieces = piece = body = said = None
                gc.collect()  # often, or the heap falls to pieces
            tick(link, now)
            for frame in link.out:
                uart.write(frames.encode(*frame))
            if link.out:
                link.out = []
                frame = None
                gc.collect()
            if now - looked >= int(values["interval"]):
                looked = now
                outputs.look(now, config.SIMULATED)
            if now - full >= HEARTBEAT_MS:
                full = now
                outputs.all_due()
            if due and link.tag and not link.queue:
                name = list(due)[0]  # short ones, for which there is always room
                del due[name]
                said = '{"twin":{"%s":{"actual":{"value":"%s"}}}}' % (name, values[name])
                link.queue.append((REPORT, bytes(said, "utf-8")))
                said = None
        except MemoryError:  # what was said and heard is lost, so both sides begin anew; the outputs stay as they are
            link.out = link.queue = rest = pieces = piece = body = said = frame = None
            gc.collect()
            rest = b""
            link.out = []
            link.queue = []
            link.hello(now)
        sleep(2)


def start(config, *parts):
    """Run; nobody is there to help when it fails: say what it was, and begin again."""
    print("event=started device=" + str(config.NAME, "utf-8"))
    uart.init(115200)
    try:
        run(config, *parts)
    except Exception as error:
        print("event=failed reason=" + repr(error))
        sleep(1000)
        reset()
