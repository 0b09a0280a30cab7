"""Firmware for boards that are too small for `device_fw/firmware`: one file each, on the serial link."""
