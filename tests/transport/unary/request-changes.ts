import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { envelope, type Header, readMaxBytes, type WireRequest } from "./wire-request.ts";

// Changes that can make a request invalid.

type Change = (request: WireRequest) => WireRequest;

export function changesOfHeaders(): fc.Arbitrary<Change> {
  const header = fc.oneof(
    fc.tuple(fc.constant("content-type"), fc.constantFrom(...contentTypes)),
    fc.tuple(fc.constantFrom("grpc-timeout", "connect-timeout-ms"), fc.constantFrom(...timeouts)),
    fc.tuple(fc.constantFrom(...encodingHeaders), fc.constantFrom(...encodings)),
    fc.tuple(fc.constant("connect-protocol-version"), fc.constantFrom("1", "2", "", "one")),
    fc.tuple(
      fc.constantFrom("te", "expect", "cookie", "x-bytes-bin", "grpc-status", "user-agent", "accept"),
      fc.constantFrom("trailers", "100-continue", "a=1", "AAEC", "AAE", "!", "0", ""),
    ),
  );
  const place = fc.nat({ max: 20 });
  const changes: fc.Arbitrary<Change>[] = [
    fc
      .constantFrom("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "QUERY")
      .map((verb) => (request) => ({ ...request, verb })),
    fc.constantFrom(...paths).map((change) => (request) => ({ ...request, path: change(request.path) })),
    header.map((added) => (request) => ({
      ...request,
      headers: [...without(request.headers, added[0]), added],
    })),
    // Keeps a header of the same name, so that the header occurs twice.
    header.map((added) => (request) => ({ ...request, headers: [...request.headers, added] })),
    place.map((index) => (request) => ({
      ...request,
      headers: request.headers.toSpliced(index % request.headers.length, 1),
    })),
    place.map((index) => (request) => {
      const repeated = request.headers[index % request.headers.length];
      return repeated ? { ...request, headers: [...request.headers, repeated] } : request;
    }),
    fc
      .constantFrom(
        (text: string) => text.toUpperCase(),
        (text: string) => ` ${text}\t`,
        (text: string) => `${text};`,
        (text: string) => `${text};charset=utf-8`,
      )
      .map((change) => (request) => ({
        ...request,
        headers: request.headers.map(([name, value]) => [name, change(value)]),
      })),
    fc.constant((request) => ({
      ...request,
      headers: request.headers.map(([name, value]) => [
        request.httpVersion === 1 ? name.toUpperCase() : name,
        value,
      ]),
    })),
  ];
  return fc.oneof(...changes);
}

export function changesOfBodies(): fc.Arbitrary<Change> {
  const place = fc.nat({ max: 420 });
  const bodies = fc.oneof(
    fc.constantFrom(
      (body: Buffer) => envelope(body, 0),
      (body: Buffer) => body.subarray(0, 0),
      (body: Buffer) => Buffer.concat([body, body]),
      (body: Buffer) => body.subarray(5),
    ),
    fc
      .constantFrom(gzipSync, deflateSync, brotliCompressSync)
      .map((compress) => (body: Buffer) => compress(body)),
    place.map((index) => (body: Buffer) => body.subarray(0, index % (body.length + 1))),
    fc.tuple(place, fc.nat({ max: 255 })).map(([index, byte]) => (body: Buffer) => {
      if (body.length > 0) body.writeUInt8(byte, index % body.length);
      return body;
    }),
    fc
      .uint8Array({ minLength: 1, maxLength: 12 })
      .map((bytes) => (body: Buffer) => Buffer.concat([body, bytes])),
    fc
      .constantFrom(0x01, 0x02, 0x03, 0x80, 0x81, 0xff)
      .map((flags) => (body: Buffer) => Buffer.concat([Buffer.from([flags]), body.subarray(1)])),
    // A second envelope, or trailers of gRPC-Web.
    fc.tuple(fc.constantFrom(0x00, 0x01, 0x02, 0x80, 0x81), fc.uint8Array({ maxLength: 30 })).map(
      ([flags, bytes]) =>
        (body: Buffer) =>
          Buffer.concat([body, envelope(Buffer.from(bytes), flags)]),
    ),
    fc
      .constantFrom(0, 1, readMaxBytes, readMaxBytes + 1, 2 ** 31, 2 ** 32 - 1)
      .map((length) => (body: Buffer) => {
        const changed = Buffer.concat([body.subarray(0, 1), Buffer.alloc(4), body.subarray(5)]);
        if (changed.length >= 5) changed.writeUInt32BE(length, 1);
        return changed;
      }),
    fc
      .constantFrom(readMaxBytes - 5, readMaxBytes, readMaxBytes + 1, 10 * readMaxBytes)
      .map((size) => (body: Buffer) => Buffer.concat([body, Buffer.alloc(size)])),
    fc
      .constantFrom(
        "{}",
        "null",
        "[]",
        "{",
        '{"userId":1}',
        '{"nonsense":1}',
        '{"userId":"a","userId":"b"}',
        " \n{}",
      )
      .map((text) => () => Buffer.from(text)),
  );
  return fc.oneof(
    // Changes a copy, because shrinking needs the original body.
    {
      weight: 6,
      arbitrary: bodies.map((change) => (request: WireRequest) => ({
        ...request,
        body: change(Buffer.from(request.body)),
      })),
    },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(1, 100, readMaxBytes * 2)
        .map((missingBytes) => (request: WireRequest) => ({ ...request, missingBytes })),
    },
    { weight: 1, arbitrary: fc.constant((request: WireRequest) => ({ ...request, ends: false })) },
  );
}

const contentTypes = [
  "application/grpc",
  "application/grpc+proto",
  "application/grpc+json",
  "application/grpc+thrift",
  "application/grpc-web",
  "application/grpc-web+proto",
  "application/grpc-web+json",
  "application/grpc-web-text",
  "application/connect+proto",
  "application/connect+json",
  "application/proto",
  "application/json",
  "application/json; charset=utf-8",
  "application/json;charset=latin1",
  "application/xml",
  "text/plain",
  "json",
  "",
];

/** No deadline passes during the call, because the answer would then depend on the progress at that time. */
const timeouts = [
  "10000",
  "10S",
  "1M",
  "60000",
  "60001",
  "123456789S",
  "9".repeat(11),
  "-1",
  "1.5",
  "S",
  "1s",
  "",
  " 20S",
];

const encodingHeaders = [
  "content-encoding",
  "accept-encoding",
  "grpc-encoding",
  "grpc-accept-encoding",
  "connect-content-encoding",
  "connect-accept-encoding",
];

const encodings = [
  "gzip",
  "br",
  "identity",
  "deflate",
  "zstd",
  "GZIP",
  "gzip, br",
  "br,gzip",
  "*",
  "gzip;q=0",
  "",
  "nonsense",
];

const paths: readonly ((path: string) => string)[] = [
  (path) => path.toLowerCase(),
  (path) => `${path}/`,
  (path) => `/${path}`,
  (path) => path.replace("ListEntries", "Nonsense"),
  (path) => path.replace("LearningLogService", "Nonsense"),
  // A method that does not allow GET, one that is not implemented, and a stream.
  (path) => path.replace("ListEntries", "CreateEntry"),
  (path) => path.replace("ListEntries", "GetSummary"),
  (path) => path.replace("ListEntries", "ImportEntries"),
  (path) => path.replace("ListEntries", "%4cistEntries"),
  (path) => path.replace(/\?.*/, ""),
  (path) => `${path}?`,
  (path) => `${path}?message=&encoding=json`,
  (path) => `${path}&encoding=json`,
  (path) => `${path}&base64=0`,
  (path) => `${path}&compression=nonsense`,
  (path) => `${path}&compression=`,
  (path) => `${path}&message=%ff`,
  (path) => `${path}#fragment`,
  (path) => path.replace("connect=v1", "connect=v2"),
  (path) => path.replace("connect=v1&", ""),
  (path) => path.replace(/encoding=\w+/, "encoding=xml"),
  (path) => path.replace(/encoding=\w+/, "encoding="),
  (path) => path.replace("base64=1", "base64=true"),
  (path) => path.replace("base64=1", ""),
  (path) => path.replace(/message=[^&]*/, "message=!!!"),
  (path) => path.replace(/message=[^&]*/, ""),
  (path) => path.replace(/message=[^&]{3}/, "message="),
  (path) => path.replace(/message=[^&]*/, "message=%7B%7D&message=%7B"),
];

function without(headers: readonly Header[], name: string): readonly Header[] {
  return headers.filter(([other]) => other !== name);
}
