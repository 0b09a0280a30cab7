"""The code that runs on a board while it is flashed."""

MAKE_ROOM = """
import sys, gc
_feed = getattr(sys.modules.get('hedgerow_boot'), 'feed', None) or (lambda: None)
for _n in list(sys.modules):
 if getattr(sys.modules[_n], '__file__', '')[:5] != '/rom/':
  del sys.modules[_n]
for _n in list(globals()):
 if _n[:1] != '_':
  del globals()[_n]
import gc
gc.collect()
"""
"""Forget all that ran. Short, for a board may have hardly any heap left to compile it."""

PRELUDE = """
import sys, gc, os, hashlib, binascii
def _sum(p):
 _feed()
 h = hashlib.sha256()
 b = bytearray(512)
 with open(p, 'rb') as f:
  while 1:
   n = f.readinto(b)
   if not n:
    break
   h.update(memoryview(b)[:n])
 return binascii.hexlify(h.digest()).decode()
def _walk(d):
 for e in os.ilistdir(d or '/'):
  p = d + '/' + e[0]
  if e[1] & 0x4000:
   if os.statvfs(p)[:3] == os.statvfs('/')[:3]:
    _walk(p)
  else:
   print(repr((p[1:], os.stat(p)[6], _sum(p))))
def _folders(p):
 for i in range(1, len(p)):
  if p[i] == '/':
   try:
    os.mkdir(p[:i])
   except OSError:
    pass
def _remove(p):
 try:
  os.remove(p)
 except OSError:
  pass
 while p.count('/') > 1:
  p = p[:p.rfind('/')]
  try:
   os.rmdir(p)
  except OSError:
   break
def _place(a, b):
 try:
  os.rename(a, b)
 except OSError:
  os.remove(b)
  os.rename(a, b)
 if hasattr(os, 'sync'):
  os.sync()
"""

"""What the rest needs, after `MAKE_ROOM`."""

FACTS = """
import machine
_i = sys.implementation
_v = os.statvfs('/')
try:
 import network
 _net = True
except ImportError:
 _net = False
print(repr((
 sys.platform, _i.name, list(_i.version), sys.version,
 getattr(_i, '_machine', ''), getattr(_i, '_build', ''), getattr(_i, '_mpy', 0),
 binascii.hexlify(machine.unique_id()).decode() if hasattr(machine, 'unique_id') else '', _net,
 _v[0] * _v[3], _v[0], [e[0] for e in os.ilistdir('/')],
)))
"""
"""Prints what the board is, as `flash_board.Facts` wants it."""
