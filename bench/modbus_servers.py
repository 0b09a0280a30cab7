"""Emulated Modbus TCP servers in a process of their own, as fast as Python can: every register holds another value at each read.

    python -m bench.modbus_servers --ports 10

prints one line of JSON with the ports, then one for each line it reads: requests answered so far, by port. Holding registers
count upwards; input registers are pairs that hold a float32 of one decimal, as instruments have them.
"""

import argparse
import asyncio
import json
import struct
import sys

_HEADER = struct.Struct(">HHHBBHH")
_WORDS = 4096
_COUNTING = struct.pack(f">{4 * _WORDS}H", *(n % 30000 for n in range(4 * _WORDS)))
_DECIMALS = struct.pack(f">{2 * _WORDS}f", *(n / 10 for n in range(2 * _WORDS)))
_HOLDING = 3


class Server(asyncio.Protocol):
    """One connection; answers reads of registers."""

    def __init__(self, counts: list[int], place: int) -> None:
        self._counts = counts
        self._place = place
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that a client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One request, whole: clients have one on its way."""
        assert self._transport is not None
        transaction, _, _, unit, function, address, count = _HEADER.unpack_from(data)
        self._counts[self._place] += 1
        shift = 2 * (address + 2 * (self._counts[self._place] % _WORDS))
        values = (_COUNTING if function == _HOLDING else _DECIMALS)[shift : shift + 2 * count]
        self._transport.write(
            struct.pack(">HHHBBB", transaction, 0, 3 + len(values), unit, function, len(values)) + values
        )


async def serve(ports: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    counts = [0] * ports
    servers = [
        await loop.create_server(lambda place=place: Server(counts, place), "127.0.0.1", 0)  # type: ignore[misc]
        for place in range(ports)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(counts), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fast Modbus TCP servers.")
    parser.add_argument("--ports", type=int, default=1)
    asyncio.run(serve(parser.parse_args().ports))


if __name__ == "__main__":
    main()
