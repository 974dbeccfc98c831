import { expect, test } from "vitest";
import { decodePageToken, encodePageToken } from "../../src/paging/page-token.ts";

const request = ["List", "someone", undefined, 1_709_208_000_000_000n];
const position = ["1709208000000000", "a place with ümlauts"];

test("a token is decoded to its position", () => {
  expect(decodePageToken(request, encodePageToken(request, position))).toEqual(position);
  expect(decodePageToken([], encodePageToken([], []))).toEqual([]);
});

test("a token needs no escaping in a URL", () => {
  expect(encodePageToken(request, position)).toMatch(/^[\w-]+$/);
});

test("a token is valid only for its own request", () => {
  const token = encodePageToken(request, position);
  for (const other of [
    ["Other", ...request.slice(1)],
    ["List", "someone else", undefined, 1_709_208_000_000_000n],
    ["List", "someone", 1_709_208_000_000_000n, undefined],
    ["List", "someone", undefined, 1_709_208_000_000_001n],
    [...request, undefined],
    [],
  ]) {
    expect(decodePageToken(other, token)).toBeUndefined();
  }
});

test("a damaged token is rejected, wherever the damage is", () => {
  const token = encodePageToken(request, position);
  for (let index = 0; index < token.length; index += 1) {
    for (const character of "A9_!= \u{1F600}") {
      const damaged = token.slice(0, index) + character + token.slice(index + 1);
      if (damaged !== token) expect(decodePageToken(request, damaged)).toBeUndefined();
    }
    expect(decodePageToken(request, token.slice(0, index))).toBeUndefined();
  }
  expect(decodePageToken(request, token + token)).toBeUndefined();
  expect(decodePageToken(request, `${token}=`)).toBeUndefined();
});

test.for(["", "x", "AAAAAAAAAAA", "not base64 at all", "\0"])("%j is rejected as a token", (text) => {
  expect(decodePageToken(request, text)).toBeUndefined();
});
