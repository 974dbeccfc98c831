import { createHash } from "node:crypto";

// A page token is opaque to callers. It contains the position where its page begins, and a checksum of that position
// and the request that the token belongs to. It is not a secret: a forged token must not return anything that the
// request itself would not return.

const checksumBytes = 8;

/**
 * @param request the values that must be the same in the request for the next page
 * @param position where the next page begins
 */
export function encodePageToken(request: readonly unknown[], position: readonly string[]): string {
  const positionText = JSON.stringify(position);
  return Buffer.concat([checksum(request, positionText), Buffer.from(positionText)]).toString("base64url");
}

/** @returns the position; undefined if the token is malformed or belongs to another request */
export function decodePageToken(request: readonly unknown[], token: string): string[] | undefined {
  const position = parse(Buffer.from(token, "base64url").subarray(checksumBytes).toString());
  if (!Array.isArray(position) || !position.every((part) => typeof part === "string")) return undefined;
  return encodePageToken(request, position) === token ? position : undefined;
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function checksum(request: readonly unknown[], positionText: string): Buffer {
  const requestText = JSON.stringify(request, (_, value) =>
    typeof value === "bigint" ? String(value) : value,
  );
  return createHash("sha256").update(`${requestText}\n${positionText}`).digest().subarray(0, checksumBytes);
}
