import type { Interceptor } from "@connectrpc/connect";

/** Asks nginx, and what follows its header, not to collect a stream's answers but to deliver each at once. */
export const unbufferedStreams: Interceptor = (next) => (request) =>
  request.stream ? unbuffered(next(request)) : next(request);

async function unbuffered<Response extends { readonly header: Headers }>(
  answering: Promise<Response>,
): Promise<Response> {
  const response = await answering;
  response.header.set("x-accel-buffering", "no");
  return response;
}
