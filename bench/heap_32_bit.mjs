// The heap of a board with updates, on MicroPython's WebAssembly port, whose objects have 32 bits: `node heap_32_bit.mjs PORT BOARD`.
// PORT is the port's package, BOARD a folder with a board's flash. Collecting needs an empty stack there, so the start is taken in steps.
import { pathToFileURL } from "url";
import fs from "fs";
import path from "path";

const [port, board] = process.argv.slice(2);
const { loadMicroPython } = await import(pathToFileURL(path.join(port, "micropython.mjs")));
const lines = [];
const mp = await loadMicroPython({ linebuffer: true, stdout: (line) => lines.push(line), stderr: (line) => lines.push(line) });

function put(from, to) {
  mp.FS.mkdir(to);
  for (const name of fs.readdirSync(from)) {
    const source = path.join(from, name);
    if (fs.statSync(source).isDirectory()) put(source, to + "/" + name);
    else mp.FS.writeFile(to + "/" + name, fs.readFileSync(source));
  }
}

function inUse() {
  for (let times = 0; times < 2; times++) mp.runPython("import gc\ngc.collect()");
  mp.runPython("import gc\nprint(gc.mem_alloc())");
  return Number(lines.pop());
}

put(board, "/flash");
const bare = inUse();
// What a board's port has in its own flash and this one lacks.
mp.runPython(`
import binascii, json, os, struct, sys, time
os.chdir("/flash")
sys.path[:] = ["/flash/hedgerow_boot", ""]
os.urandom = bytes
class Module: pass
socket, machine, select = Module(), Module(), Module()
socket.SOCK_STREAM, machine.reset = 1, None
class poll:
    def register(self, *a): pass
    def poll(self, *a): return []
select.poll = poll
select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP = 1, 4, 8, 16
for name, module in (("socket", socket), ("machine", machine), ("select", select), ("utime", time)): sys.modules[name] = module
`);
const before = inUse();
mp.runPython(`
import hedgerow_boot
from hedgerow_boot import start
from hedgerow_boot import choice
hedgerow_boot.feed = int
hedgerow_boot.running = choice.load("/flash", lambda event, **fields: None)
sys.path[0] = "/flash/" + choice.choose(hedgerow_boot.running, False, lambda event, **fields: None)
for name in list(sys.modules):
    if name.startswith("edgewire") or name in ("hedgerow_boot.choice", "hedgerow_boot.changes"): del sys.modules[name]
for name in ("choice", "changes"):
    if hasattr(hedgerow_boot, name): delattr(hedgerow_boot, name)
del choice, name
`);
const booted = inUse();
mp.runPython(`
from device_fw.firmware import main, building
station, about = building.build()
building.end()
del building
`);
const built = inUse();
console.log(JSON.stringify({ bare, boot: booted - before, firmware: built - booted, log: lines }));
