// Encodes single HTTP/2 frames (RFC 9113, section 4.1), for requests that HTTP/2 libraries do not send.

/** The types of the frames that are sent here (RFC 9113, section 6). */
export const frameType = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
};
export const flag = { ack: 1, endStream: 1, endHeaders: 4 };

/** The setting for how many bytes of an answer's body may be sent before the first WINDOW_UPDATE. */
export const initialWindowSize = 4;

/** The first bytes that a client sends on a connection, before its first SETTINGS frame. */
export const connectionPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

export function settingsFrame(settings: Readonly<Record<number, number>>): Buffer {
  const entries = Object.entries(settings).map(([id, value]) => {
    const entry = Buffer.alloc(6);
    entry.writeUInt16BE(Number(id));
    entry.writeUInt32BE(value, 2);
    return entry;
  });
  return frame(frameType.settings, 0, 0, Buffer.concat(entries));
}

/** Encodes headers as literals without indexing (RFC 7541, section 6.2.2). */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const fields = Object.entries(headers).map(([name, value]) =>
    Buffer.concat([Buffer.from([0]), literal(name), literal(value)]),
  );
  return Buffer.concat(fields);
}

/**
 * Encodes headers that every call of a connection repeats, as clients do: the first block adds them to the dynamic table
 * (RFC 7541, section 6.2.1), and the next ones have only their indexes there (section 6.1).
 *
 * @param headers at most 60, of less than 4096 bytes together
 */
export function repeatedHeaderBlocks(headers: Readonly<Record<string, string>>): {
  readonly first: Buffer;
  readonly next: Buffer;
} {
  const fields = Object.entries(headers);
  const added = fields.map(([name, value]) =>
    Buffer.concat([Buffer.from([0x40]), literal(name), literal(value)]),
  );
  // The newest entry of the dynamic table has the first index after the static table.
  const indexes = fields.map((_, place) => 0x80 | (staticTableSize + fields.length - place));
  return { first: Buffer.concat(added), next: Buffer.from(indexes) };
}

const staticTableSize = 61;

function literal(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  // An integer with a prefix of 7 bits: RFC 7541, section 5.1.
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
