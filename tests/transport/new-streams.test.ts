import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { NewStreams } from "../../src/transport/new-streams.ts";

test("of many new streams, exactly those that are still open are taken, and only once", () => {
  const streams = new NewStreams<PassThrough>();
  const open: PassThrough[] = [];
  for (let count = 0; count < 5_000; count += 1) {
    const stream = new PassThrough();
    streams.add(stream);
    if (count % 7 === 0) open.push(stream);
    else stream.destroy();
  }
  open.shift()?.destroy();
  expect(streams.takeOpen()).toEqual(open);
  expect(streams.takeOpen()).toEqual([]);
});
