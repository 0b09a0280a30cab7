"""What is said of firmware updates: states, reasons, names, bounds. Constants only; also runs on MicroPython."""

FORMAT = 1

# Bounds of what either side takes in, in bytes unless said otherwise.
MAX_OFFER = 1024
MAX_MANIFEST = 8192
MAX_FILES = 100  # files
MAX_IMAGE = 8 * 1024 * 1024
MAX_CHUNK = 4096
MAX_PATH = 96
MAX_TEXT = 32  # of version, board, runtime
MAX_COUNTER = 0x7FFFFFFF

# Twin properties of a board that can be updated, all read only: `firmware-progress` is an INT, the others are STRINGs.
FIRMWARE = "firmware"  # the version that runs
FIRMWARE_TARGET = "firmware-target"  # `short(id)` of the image it works on, or last did
FIRMWARE_STATE = "firmware-state"
FIRMWARE_PROGRESS = "firmware-progress"  # of the download, 0 to 100
FIRMWARE_REASON = "firmware-reason"
PROPERTIES = (FIRMWARE, FIRMWARE_TARGET, FIRMWARE_STATE, FIRMWARE_PROGRESS, FIRMWARE_REASON)

# What `firmware-state` may say.
IDLE = "idle"  # nothing was ever offered, or the offer was taken back
DOWNLOADING = "downloading"
TRIAL = "trial"  # complete and verified; about to run, or running, for the first time
CONFIRMED = "confirmed"  # the target runs, and proved itself
REVERTED = "reverted"  # the target ran and failed; the version before runs again
REFUSED = "refused"  # the target was not run
RECOVERY = "recovery"  # no slot can be run: the board waits for an image
STATES = (IDLE, DOWNLOADING, TRIAL, CONFIRMED, REVERTED, REFUSED, RECOVERY)

# What `firmware-reason` may say.
NONE = "none"  # also of `firmware-target`
BAD_OFFER = "bad-offer"
BAD_MANIFEST = "bad-manifest"
BAD_SIGNATURE = "bad-signature"
WRONG_BOARD = "wrong-board"
DOWNGRADE = "downgrade"
RUNTIME_TOO_OLD = "runtime-too-old"
WRONG_MPY = "wrong-mpy"  # compiled for another version of bytecode, or another processor
CHECKSUM = "checksum"
NO_SPACE = "no-space"
FLASH = "flash"  # writing failed otherwise
NO_MEMORY = "no-memory"  # the heap is too full for a download
GONE = "gone"  # the gateway has the image no more
STOPPED = "stopped"  # the offer was taken back
WATCHDOG = "watchdog"  # the trial hung
EXCEPTION = "exception"  # the trial raised
SELF_TEST = "self-test"  # the trial found something not working
NOT_CONFIRMED = "not-confirmed"  # the trial was cut off, or never reached the gateway
CRASHED = "crashed"  # recovery: the active firmware failed too often
NO_IMAGE = "no-image"  # recovery: no slot holds a whole, signed image
REASONS = (
    NONE, BAD_OFFER, BAD_MANIFEST, BAD_SIGNATURE, WRONG_BOARD, DOWNGRADE, RUNTIME_TOO_OLD, WRONG_MPY, CHECKSUM, NO_SPACE,
    FLASH, NO_MEMORY, GONE, STOPPED, WATCHDOG, EXCEPTION, SELF_TEST, NOT_CONFIRMED, CRASHED, NO_IMAGE,
)  # fmt: skip

# Files of a slot, and of a bundle, that are not the image's own.
MANIFEST = "manifest.json"
SIGNATURE = "signature.hex"
OFFER = "offer.json"
RESERVED = (MANIFEST, SIGNATURE, OFFER)
