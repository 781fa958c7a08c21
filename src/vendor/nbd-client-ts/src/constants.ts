// The constants of the NBD specification (doc/proto.md), with the specification's spelling.
// Values wider than 32 bits are pairs of u32 named `_HIGH` and `_LOW`, so that no hot path needs
// a BigInt. The limits of this implementation are in limits.ts; nothing here is our choice.

/** First u64 of the greeting, ASCII `NBDMAGIC`. */
export const NBD_MAGIC_HIGH = 0x4e42444d
export const NBD_MAGIC_LOW = 0x41474943
/** Second u64 of a newstyle greeting and the first of every option, ASCII `IHAVEOPT`. */
export const NBD_OPTS_MAGIC_HIGH = 0x49484156
export const NBD_OPTS_MAGIC_LOW = 0x454f5054
/** Second u64 of an oldstyle greeting; we only recognise it in order to refuse it. */
export const NBD_CLIENT_MAGIC_HIGH = 0x00004202
export const NBD_CLIENT_MAGIC_LOW = 0x81861253
/** First u64 of every option reply. */
export const NBD_REP_MAGIC_HIGH = 0x0003e889
export const NBD_REP_MAGIC_LOW = 0x045565a9
/** First u32 of every request. */
export const NBD_REQUEST_MAGIC = 0x25609513
/** First u32 of every simple reply. */
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698
/** First u32 of every structured reply chunk. */
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef

// Handshake flags (u16, server) and client flags (u32).
export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0
export const NBD_FLAG_NO_ZEROES = 1 << 1
export const NBD_FLAG_C_FIXED_NEWSTYLE = 1 << 0
export const NBD_FLAG_C_NO_ZEROES = 1 << 1

// Transmission flags (u16).
export const NBD_FLAG_HAS_FLAGS = 1 << 0
export const NBD_FLAG_READ_ONLY = 1 << 1
export const NBD_FLAG_SEND_FLUSH = 1 << 2
export const NBD_FLAG_SEND_FUA = 1 << 3
export const NBD_FLAG_ROTATIONAL = 1 << 4
export const NBD_FLAG_SEND_TRIM = 1 << 5
export const NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6
export const NBD_FLAG_SEND_DF = 1 << 7
export const NBD_FLAG_CAN_MULTI_CONN = 1 << 8
export const NBD_FLAG_SEND_RESIZE = 1 << 9
export const NBD_FLAG_SEND_CACHE = 1 << 10
export const NBD_FLAG_SEND_FAST_ZERO = 1 << 11
export const NBD_FLAG_BLOCK_STATUS_PAYLOAD = 1 << 12

// Options.
export const NBD_OPT_EXPORT_NAME = 1
export const NBD_OPT_ABORT = 2
export const NBD_OPT_LIST = 3
export const NBD_OPT_PEEK_EXPORT = 4
export const NBD_OPT_STARTTLS = 5
export const NBD_OPT_INFO = 6
export const NBD_OPT_GO = 7
export const NBD_OPT_STRUCTURED_REPLY = 8
export const NBD_OPT_LIST_META_CONTEXT = 9
export const NBD_OPT_SET_META_CONTEXT = 10
export const NBD_OPT_EXTENDED_HEADERS = 11

// Option reply types; errors have bit 31 set.
export const NBD_REP_ACK = 1
export const NBD_REP_SERVER = 2
export const NBD_REP_INFO = 3
export const NBD_REP_META_CONTEXT = 4
export const NBD_REP_FLAG_ERROR = 0x80000000
export const NBD_REP_ERR_UNSUP = 0x80000001
export const NBD_REP_ERR_POLICY = 0x80000002
export const NBD_REP_ERR_INVALID = 0x80000003
export const NBD_REP_ERR_PLATFORM = 0x80000004
export const NBD_REP_ERR_TLS_REQD = 0x80000005
export const NBD_REP_ERR_UNKNOWN = 0x80000006
export const NBD_REP_ERR_SHUTDOWN = 0x80000007
export const NBD_REP_ERR_BLOCK_SIZE_REQD = 0x80000008
export const NBD_REP_ERR_TOO_BIG = 0x80000009
export const NBD_REP_ERR_EXT_HEADER_REQD = 0x8000000a

// Information types of NBD_OPT_INFO and NBD_OPT_GO.
export const NBD_INFO_EXPORT = 0
export const NBD_INFO_NAME = 1
export const NBD_INFO_DESCRIPTION = 2
export const NBD_INFO_BLOCK_SIZE = 3

// Commands.
export const NBD_CMD_READ = 0
export const NBD_CMD_WRITE = 1
export const NBD_CMD_DISC = 2
export const NBD_CMD_FLUSH = 3
export const NBD_CMD_TRIM = 4
export const NBD_CMD_CACHE = 5
export const NBD_CMD_WRITE_ZEROES = 6
export const NBD_CMD_BLOCK_STATUS = 7
export const NBD_CMD_RESIZE = 8

// Command flags (u16).
export const NBD_CMD_FLAG_FUA = 1 << 0
export const NBD_CMD_FLAG_NO_HOLE = 1 << 1
export const NBD_CMD_FLAG_DF = 1 << 2
export const NBD_CMD_FLAG_REQ_ONE = 1 << 3
export const NBD_CMD_FLAG_FAST_ZERO = 1 << 4
export const NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5

// Structured reply flags and chunk types; error types have bit 15 set.
export const NBD_REPLY_FLAG_DONE = 1 << 0
export const NBD_REPLY_TYPE_NONE = 0
export const NBD_REPLY_TYPE_OFFSET_DATA = 1
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5
export const NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6
export const NBD_REPLY_TYPE_FLAG_ERROR = 1 << 15
export const NBD_REPLY_TYPE_ERROR = NBD_REPLY_TYPE_FLAG_ERROR + 1
export const NBD_REPLY_TYPE_ERROR_OFFSET = NBD_REPLY_TYPE_FLAG_ERROR + 2

// The `base:allocation` meta context and its status bits.
export const NBD_META_BASE_ALLOCATION = 'base:allocation'
export const NBD_STATE_HOLE = 1 << 0
export const NBD_STATE_ZERO = 1 << 1

// Error values of replies.
export const NBD_EPERM = 1
export const NBD_EIO = 5
export const NBD_ENOMEM = 12
export const NBD_EINVAL = 22
export const NBD_ENOSPC = 28
export const NBD_EOVERFLOW = 75
export const NBD_ENOTSUP = 95
export const NBD_ESHUTDOWN = 108

/** IANA's TCP port for NBD. */
export const NBD_DEFAULT_PORT = 10809
/** Longest string of the protocol in bytes of UTF-8: names, queries, error messages. */
export const NBD_MAX_STRING = 4096

// "Size constraints": what holds when a server says nothing, and the bounds of what it may say.
export const NBD_DEFAULT_MINIMUM_BLOCK = 1
export const NBD_DEFAULT_PREFERRED_BLOCK = 4096
export const NBD_DEFAULT_MAXIMUM_PAYLOAD = 32 * 1024 * 1024
export const NBD_MINIMUM_BLOCK_MAX = 65536
export const NBD_PREFERRED_BLOCK_MIN = 512
/** A server should not send more descriptors than this in one block status chunk. */
export const NBD_MAX_EXTENTS = 2 ** 20

// Sizes of fixed parts of messages, in bytes.
export const NBD_GREETING_SIZE = 18
export const NBD_CLIENT_FLAGS_SIZE = 4
export const NBD_OPTION_HEADER_SIZE = 16
export const NBD_OPTION_REPLY_HEADER_SIZE = 20
/** Size and flags after NBD_OPT_EXPORT_NAME, without and with the reserved zeroes. */
export const NBD_EXPORT_NAME_REPLY_SIZE = 10
export const NBD_EXPORT_NAME_PADDING = 124
