# Sends requests that libnbd would refuse to send, one after another over one connection, and
# checks after each that the connection still works. Prints one "name: outcome" a line.
# usage: python3 illegal-requests.py URI
import sys
import nbd

uri = sys.argv[1]
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(uri)
h.set_strict_mode(0)
size = h.get_size()
block = bytearray(4096)
big = 33 * 1024 * 1024
unknown_flag = 1 << 14


def status(length, offset):
    h.block_status(length, offset, lambda *_: 0)


requests = {
    'read past the end': lambda: h.pread(4096, size),
    'read across the end': lambda: h.pread(8192, size - 4096),
    'read at the last offset there is': lambda: h.pread(4096, 2**63 - 4096),
    'status past the end': lambda: status(4096, size),
    'cache past the end': lambda: h.cache(4096, size),
    'read of no whole block': lambda: h.pread(100, 0),
    'read between blocks': lambda: h.pread(512, 1),
    'read with an unknown flag': lambda: h.pread(512, 0, unknown_flag),
    'read larger than allowed': lambda: h.pread(big, 0),
    'read of nothing': lambda: h.pread(0, 0),
    'status of nothing': lambda: status(0, 0),
    'flush with a flag': lambda: h.flush(nbd.CMD_FLAG_FAST_ZERO),
    'write': lambda: h.pwrite(block, 0),
    'write zeroes': lambda: h.zero(4096, 0),
    'trim': lambda: h.trim(4096, 0),
    'write past the end': lambda: h.pwrite(block, size),
    'write across the end': lambda: h.pwrite(bytearray(8192), size - 4096),
    'write zeroes past the end': lambda: h.zero(4096, size),
    'trim past the end': lambda: h.trim(4096, size),
    'write of no whole block': lambda: h.pwrite(bytearray(100), 0),
    'write between blocks': lambda: h.pwrite(bytearray(512), 1),
    'write with a flag of reads': lambda: h.pwrite(block, 0, nbd.CMD_FLAG_DF),
    'trim with a flag of zeroes': lambda: h.trim(4096, 0, nbd.CMD_FLAG_NO_HOLE),
    'write larger than allowed': lambda: h.pwrite(bytearray(big), 0),
    'write zeroes of 4 GiB': lambda: h.zero(2**32 - 512, 0),
    'trim of 4 GiB': lambda: h.trim(2**32 - 512, 0),
}

for name, request in requests.items():
    try:
        request()
        outcome = 'done'
    except nbd.Error as error:
        outcome = error.errno
    try:
        h.pread(512, 0)
    except nbd.Error:
        outcome += ', and the connection is lost'
    print(f'{name}: {outcome}')
