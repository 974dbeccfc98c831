import type { ConnectNodeAdapterOptions } from "@connectrpc/connect-node";
import { guardedConnectNodeAdapter } from "../../src/transport/unary/connect-node/guarded-connect-node.ts";
import { type Listeners, streamListenerOf } from "../../src/transport/unary/http/listeners.ts";
import { unaryNodeAdapter } from "../../src/transport/unary/unary-node-adapter.ts";

/**
 * The two adapters, which must behave the same for every caller. connect-node's has the guards that the service uses.
 * Without them, it may answer without reading the rest of a body, which resets HTTP/1.1 connections and stalls HTTP/2
 * streams.
 */
export const adapters = {
  "connect-node": (options) => {
    const request = guardedConnectNodeAdapter(options);
    return { request, stream: streamListenerOf(request) };
  },
  lean: unaryNodeAdapter,
} satisfies Record<string, (options: ConnectNodeAdapterOptions) => Listeners>;

export type AdapterName = keyof typeof adapters;

export const adapterNames: readonly AdapterName[] = ["connect-node", "lean"];
