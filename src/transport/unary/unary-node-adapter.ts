import type { ServerResponse } from "node:http";
import { Http2ServerRequest } from "node:http2";
import { type ConnectNodeAdapterOptions, compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { type ProtocolCall, serveUnary } from "./call/serve-unary.ts";
import { collectUnaryMethods } from "./call/unary-methods.ts";
import { guardedConnectNodeAdapter } from "./connect-node/guarded-connect-node.ts";
import type { Exchange } from "./http/exchange.ts";
import { Http1Exchange } from "./http/http1-exchange.ts";
import { Http2Exchange } from "./http/http2-exchange.ts";
import { type Listeners, streamListenerOf } from "./http/listeners.ts";
import { matchUnary, type UnaryMatch } from "./match-unary.ts";
import { ConnectCall } from "./protocols/connect-call.ts";
import { GrpcCall } from "./protocols/grpc-call.ts";
import { GrpcWebCall } from "./protocols/grpc-web-call.ts";

/** Serves unary calls itself, and delegates everything else to connect-node's adapter. */
export function unaryNodeAdapter(givenOptions: ConnectNodeAdapterOptions): Listeners {
  // connect-node has the same default.
  const acceptCompression = givenOptions.acceptCompression ?? [compressionGzip, compressionBrotli];
  const options = { ...givenOptions, acceptCompression };
  const { routes, methods } = collectUnaryMethods(options);
  const delegate = guardedConnectNodeAdapter({ ...options, routes });
  const delegateStream = streamListenerOf(delegate);
  const { contextValues } = options;

  return {
    request(request, response) {
      if (request instanceof Http2ServerRequest) return delegate(request, response);
      const match = matchUnary(methods, {
        httpVersion: 1,
        isEncrypted: "encrypted" in request.socket,
        verb: request.method,
        target: request.url,
        authority: request.headers.host,
        headers: request.headers,
      });
      if (match === undefined) return delegate(request, response);
      // The response to an HTTP/1.1 request is a ServerResponse.
      const http1Response = response as ServerResponse;
      const createValues = contextValues ? () => contextValues(request) : undefined;
      const exchange = new Http1Exchange(request, http1Response, match.url, createValues);
      void serveUnary(createCall(match, exchange));
    },

    stream(stream, headers, flags, rawHeaders) {
      const match = matchUnary(methods, {
        httpVersion: 2,
        isEncrypted: stream.session?.encrypted === true,
        verb: headers[":method"],
        target: headers[":path"],
        authority: headers[":authority"] ?? headers.host,
        headers,
      });
      // Node's compatibility layer, which connect-node uses, answers an Expect header, such as "100-continue".
      if (match === undefined || headers.expect !== undefined) {
        return delegateStream(stream, headers, flags, rawHeaders);
      }
      const createValues = contextValues
        ? () => contextValues(new Http2ServerRequest(stream, headers, {}, rawHeaders))
        : undefined;
      const exchange = new Http2Exchange(stream, headers, match.url, createValues);
      void serveUnary(createCall(match, exchange));
    },
  };
}

function createCall({ method, choice, query }: UnaryMatch, exchange: Exchange): ProtocolCall {
  switch (choice.protocol) {
    case "grpc":
      return new GrpcCall(method, exchange, choice.isBinary);
    case "grpc-web":
      return new GrpcWebCall(method, exchange, choice.isBinary);
    case "connect":
      return new ConnectCall(method, exchange, choice.isBinary, query);
  }
}
