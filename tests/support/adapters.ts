import type { ConnectNodeAdapterOptions } from "@connectrpc/connect-node";
import { guardedConnectNodeAdapter } from "../../src/transport/unary/connect-node/guarded-connect-node.ts";
import { type Listeners, streamListenerOf } from "../../src/transport/unary/http/listeners.ts";
import { unaryNodeAdapter } from "../../src/transport/unary/unary-node-adapter.ts";

/**
 * The adapters that must not differ in anything that a caller sees. connect-node's is guarded, as the service has it:
 * bare, it answers early without reading the rest, which resets connections of HTTP/1.1 and stalls streams of HTTP/2.
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
