import { withUnaryHooks } from "./unary/call/unary-hooks.ts";

/**
 * Sets the header `X-Accel-Buffering: no` on streaming responses: nginx, and other proxies that support it, then
 * deliver each message at once instead of buffering it.
 */
export const unbufferedStreams = withUnaryHooks(
  (next) => (request) => (request.stream ? unbuffered(next(request)) : next(request)),
  {},
);

async function unbuffered<Response extends { readonly header: Headers }>(
  pending: Promise<Response>,
): Promise<Response> {
  const response = await pending;
  response.header.set("x-accel-buffering", "no");
  return response;
}
