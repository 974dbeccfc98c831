// The format of time zone files, which PostgreSQL and the C library read: https://www.rfc-editor.org/rfc/rfc8536

/** A change of a zone's offset from UTC. */
export interface OffsetChange {
  /** In seconds since 1970. */
  readonly at: number;
  /** The offset from this instant on, in seconds ahead of UTC. */
  readonly offset: number;
}

/**
 * Encodes a zone as a version 2 file.
 *
 * @param before the offset until the first change
 * @param changes in chronological order
 * @param rule the rule for the time after the last change, as a POSIX TZ string
 */
export function encodeTimeZoneFile(before: number, changes: readonly OffsetChange[], rule: string): Buffer {
  const offsets = [...new Set([before, ...changes.map(({ offset }) => offset)])];
  const names = nameOffsets(offsets);
  const types = Buffer.concat(
    offsets.map((offset, index) => {
      const type = Buffer.alloc(6);
      type.writeInt32BE(offset, 0);
      type.writeUInt8(names.positions[index] ?? 0, 5);
      return type;
    }),
  );
  const times = Buffer.alloc(changes.length * 8);
  changes.forEach(({ at }, index) => {
    times.writeBigInt64BE(BigInt(at), index * 8);
  });
  const typeOfTime = Buffer.from(changes.map(({ offset }) => offsets.indexOf(offset)));
  return Buffer.concat([
    // The version 1 block, for readers of 32-bit times. It is minimal: one offset without changes.
    header(0, 1, 1),
    Buffer.alloc(6 + 1),
    header(changes.length, offsets.length, names.text.length),
    times,
    typeOfTime,
    types,
    names.text,
    Buffer.from(`\n${rule}\n`),
  ]);
}

/** Returns the abbreviation of an offset: `+01`, `-0330`, or `LMT` (local mean time) for an offset with seconds. */
export function nameOffset(offset: number): string {
  if (offset % 60 !== 0) return "LMT";
  const minutes = Math.abs(offset) / 60;
  const pair = (value: number) => String(value).padStart(2, "0");
  const hours = `${offset < 0 ? "-" : "+"}${pair(Math.floor(minutes / 60))}`;
  return minutes % 60 === 0 ? hours : `${hours}${pair(minutes % 60)}`;
}

/** Returns all names as one text, each ended by a NUL, and the position in it at which each offset's name begins. */
function nameOffsets(offsets: readonly number[]): { text: Buffer; positions: number[] } {
  let text = "";
  const positions = offsets.map((offset) => {
    const name = `${nameOffset(offset)}\0`;
    if (!text.includes(name)) text += name;
    return text.indexOf(name);
  });
  return { text: Buffer.from(text), positions };
}

function header(changes: number, types: number, nameBytes: number): Buffer {
  const bytes = Buffer.alloc(44);
  bytes.write("TZif2");
  bytes.writeUInt32BE(changes, 32);
  bytes.writeUInt32BE(types, 36);
  bytes.writeUInt32BE(nameBytes, 40);
  return bytes;
}
