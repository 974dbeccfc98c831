import {
  createAsyncIterable,
  type UniversalHandler,
  type UniversalServerRequest,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";

/**
 * Adds a line of text to the responses that connect sends without a body if the request is not a valid call. For an
 * empty body, curl and browsers show nothing.
 *
 * @param handlers the handlers of a router, which are replaced in place
 */
export function explainRefusals(handlers: UniversalHandler[]): void {
  for (const [index, handler] of handlers.entries()) {
    const explained = async (request: UniversalServerRequest) =>
      explain(handler, request, await handler(request));
    handlers[index] = Object.assign(explained, handler);
  }
}

function explain(
  handler: UniversalHandler,
  request: UniversalServerRequest,
  response: UniversalServerResponse,
): UniversalServerResponse {
  const text = response.body === undefined ? hint(handler, request, response.status) : undefined;
  if (text === undefined) return response;
  const body = new TextEncoder().encode(`${text}\n`);
  const header = new Headers(response.header);
  header.set("content-type", "text/plain; charset=utf-8");
  header.set("content-length", String(body.byteLength));
  if (response.status === 405) header.set("allow", handler.allowedMethods.join(", "));
  if (request.method === "HEAD") return { ...response, header };
  return { ...response, header, body: createAsyncIterable([body]) };
}

/** @returns undefined for a status that needs no explanation */
function hint(
  handler: UniversalHandler,
  request: UniversalServerRequest,
  status: number,
): string | undefined {
  const { method, allowedMethods, requestPath } = handler;
  const isUnary = method.methodKind === "unary";
  switch (status) {
    case 405: {
      const url = new URL(requestPath, request.url);
      const how = isUnary
        ? `for example: curl --header 'Content-Type: application/json' --data '{}' ${url}`
        : "with a client for Connect, gRPC or gRPC-Web";
      return `This is a method, not a page. Call it by ${allowedMethods.join(" or ")}, ${how}`;
    }
    case 415: {
      if (request.method === "GET") {
        return 'A GET of this method needs two parameters: "encoding", which is json or proto, and "message".';
      }
      const [json, proto] = isUnary
        ? ["application/json", "application/proto"]
        : ["application/connect+json", "application/connect+proto"];
      return `The header Content-Type must be ${json}, ${proto}, application/grpc or application/grpc-web.`;
    }
    case 505:
      return "This method needs HTTP/2.";
    default:
      return undefined;
  }
}
