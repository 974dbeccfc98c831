import { createHash } from "node:crypto";

// A page token is opaque to callers: a fingerprint of the request that it belongs to, and the position where its
// page begins. It is no secret: whoever makes one up gets what the request itself would have given.

const fingerprintBytes = 8;

/**
 * @param request what must be the same in the request for the next page
 * @param position where that page begins
 */
export function encodePageToken(request: readonly unknown[], position: readonly string[]): string {
  return Buffer.concat([fingerprint(request), Buffer.from(JSON.stringify(position))]).toString("base64url");
}

/** @returns the position; undefined if the token is damaged, or belongs to another request */
export function decodePageToken(request: readonly unknown[], token: string): string[] | undefined {
  const bytes = Buffer.from(token, "base64url");
  if (!fingerprint(request).equals(bytes.subarray(0, fingerprintBytes))) return undefined;
  try {
    const position: unknown = JSON.parse(bytes.subarray(fingerprintBytes).toString());
    const isPosition = Array.isArray(position) && position.every((part) => typeof part === "string");
    return isPosition ? position : undefined;
  } catch {
    return undefined;
  }
}

function fingerprint(request: readonly unknown[]): Buffer {
  const text = JSON.stringify(request, (_, value) => (typeof value === "bigint" ? String(value) : value));
  return createHash("sha256").update(text).digest().subarray(0, fingerprintBytes);
}
