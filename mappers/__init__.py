"""Mappers: what turns the devices of a protocol (Modbus) into twins, over MQTT."""
