// Every limit of this implementation that the specification does not set. A peer that passes one
// is answered with an error where the protocol has one and disconnected where it has none.

/** Longest option data (bytes) that ServerHandshake will interpret. */
export const OPTION_LENGTH_MAX = 64 * 1024
/** Longest option data (bytes) that is skipped and answered; beyond it the session is closed. */
export const OPTION_SKIP_LENGTH_MAX = 1024 * 1024
/** Options in one session, NBD_OPT_STARTTLS not starting a new count. */
export const OPTIONS_PER_SESSION_MAX = 256
/** Undelivered output (bytes) of a handshake before the peer counts as not reading. */
export const HANDSHAKE_OUTPUT_MAX = 16 * 1024 * 1024
/** Longest option reply data (bytes) a client accepts: a name, a description and their lengths. */
export const OPTION_REPLY_LENGTH_MAX = 16 * 1024
/** Replies to one option a client accepts, unless the option is a list of exports. */
export const REPLIES_PER_OPTION_MAX = 64
/** Exports a client accepts in one list, and a server sends. */
export const EXPORTS_LISTED_MAX = 10_000
/** Meta context queries in one option, and contexts selected in one session. */
export const META_QUERIES_MAX = 64
export const META_CONTEXTS_MAX = 16

/** Longest payload (bytes) we send or accept in one message, whatever the peer advertises. */
export const PAYLOAD_MAX = 32 * 1024 * 1024
/** Longest range (bytes) of a request without payload: trim, write zeroes, cache, block status. */
export const EFFECT_LENGTH_MAX = 1024 * 1024 * 1024
/** Longest extent (bytes) that fits a block status descriptor and keeps any block alignment. */
export const EXTENT_LENGTH_MAX = 0xffff0000
/** Descriptors accepted in one block status reply chunk. */
export const EXTENTS_PER_REPLY_MAX = 2 ** 20
/** Disjoint pieces of one read that may be outstanding between content chunks. */
export const READ_FRAGMENTS_MAX = 4096
/** Error chunks accepted in one structured reply. */
export const ERROR_CHUNKS_MAX = 256
/** Bytes an error chunk may carry after its message. */
export const ERROR_CHUNK_TRAILER_MAX = 64

/** Requests one NbdClient has on the wire, unless told otherwise. */
export const IN_FLIGHT_MAX = 64
/** Requests (after splitting) that may wait for a place among those. */
export const QUEUED_REQUESTS_MAX = 4096
/** Milliseconds one reply may take, and the whole of connecting and handshake, by default. */
export const REQUEST_TIMEOUT_MS = 30_000
export const HANDSHAKE_TIMEOUT_MS = 20_000
/** Milliseconds disconnect() waits for the peer to close. */
export const DISCONNECT_TIMEOUT_MS = 5_000
/** Longest NBD URI (characters) and TLS-PSK key file (bytes) we read. */
export const URI_LENGTH_MAX = 16 * 1024
export const PSK_FILE_SIZE_MAX = 1024 * 1024
