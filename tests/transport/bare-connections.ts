import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { Listeners } from "../../src/transport/unary/http/listeners.ts";

/** Answers every request without a body. */
export const answerNothing: Listeners = {
  request: (_request, response) => response.end(),
  stream(stream) {
    stream.respond();
    stream.end();
  },
};

/** Opens a connection, which is closed when the test finishes. @throws if the server refuses it */
export async function open(url: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  onTestFinished(() => {
    socket.destroy();
  });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  socket.on("error", () => {});
  return socket;
}
