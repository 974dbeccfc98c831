import { Code, ConnectError } from "@connectrpc/connect";

/** A message whose length is known beforehand. */
export function messageTooLarge(bytes: number, maxBytes: number): ConnectError {
  const message = `message size ${bytes} is larger than configured readMaxBytes ${maxBytes}`;
  return new ConnectError(message, Code.ResourceExhausted);
}

/** A message that turned out to be too large while it was read. */
export function messageGrewTooLarge(maxBytes: number): ConnectError {
  const message = `message size is larger than configured readMaxBytes ${maxBytes}`;
  return new ConnectError(message, Code.ResourceExhausted);
}
