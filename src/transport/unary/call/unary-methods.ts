import type { DescMessage, Message } from "@bufbuild/protobuf";
import {
  ConnectError,
  type ConnectRouter,
  createMethodImplSpec,
  createServiceImplSpec,
  type MethodImplSpec,
} from "@connectrpc/connect";
import {
  createMethodSerializationLookup,
  limitSerialization,
  type MethodSerializationLookup,
  type Serialization,
  type UniversalHandler,
  type UniversalHandlerOptions,
  validateUniversalHandlerOptions,
} from "@connectrpc/connect/protocol";
import type { ConnectNodeAdapterOptions } from "@connectrpc/connect-node";
import { reuseEncoding } from "../messages/encoded-message.ts";
import { blameSender } from "./bounded-error.ts";

export type UnarySpec = Extract<MethodImplSpec, { kind: "unary" }>;

/** A unary method, and everything about it that is the same for all of its calls. */
export interface UnaryMethod {
  readonly spec: UnarySpec;
  readonly options: UniversalHandlerOptions;
  readonly serialization: MethodSerializationLookup<DescMessage, DescMessage>;
  /** connect-node's handler of the same method: it knows the protocols and HTTP methods that may be used. */
  readonly handler: UniversalHandler;
  readonly url: MethodUrl;
}

/**
 * Watches what routes register on connect-node's router.
 *
 * @returns the routes for connect-node, and the table that they fill: from the path of a URL to a unary method
 */
export function collectUnaryMethods(options: ConnectNodeAdapterOptions): {
  readonly routes: (router: ConnectRouter) => void;
  readonly methods: ReadonlyMap<string, UnaryMethod>;
} {
  const methods = new Map<string, UnaryMethod>();
  const defaults = { ...options, ...validateUniversalHandlerOptions(options) };

  const collect = (
    router: ConnectRouter,
    spec: MethodImplSpec,
    routeOptions: Partial<UniversalHandlerOptions> | undefined,
  ) => {
    const handler = router.handlers.findLast(({ method }) => method === spec.method);
    if (handler === undefined) return;
    const path = (options.requestPathPrefix ?? "") + handler.requestPath;
    // What is registered last on a path is what answers.
    methods.delete(path);
    if (spec.kind !== "unary") return;
    const own = validateUniversalHandlerOptions({ ...defaults, ...routeOptions });
    const serialization = createSerialization(spec, own);
    methods.set(path, { spec, options: own, serialization, handler, url: new MethodUrl(path) });
  };

  const routes = (router: ConnectRouter) => {
    const watched: ConnectRouter = {
      handlers: router.handlers,
      service(service, implementation, routeOptions) {
        router.service(service, implementation, routeOptions);
        const { methods: specs } = createServiceImplSpec(service, implementation);
        for (const spec of Object.values(specs)) collect(router, spec, routeOptions);
        return watched;
      },
      rpc(method, implementation, routeOptions) {
        router.rpc(method, implementation, routeOptions);
        collect(router, createMethodImplSpec(method, implementation), routeOptions);
        return watched;
      },
    };
    options.routes(watched);
  };
  return { routes, methods };
}

/**
 * As connect has it, but that an answer which is encoded already is not encoded again, and that a message that cannot be
 * decoded is its sender's fault.
 */
function createSerialization(
  { method }: UnarySpec,
  options: UniversalHandlerOptions,
): MethodSerializationLookup<DescMessage, DescMessage> {
  const { binaryOptions, jsonOptions } = options;
  const lookup = createMethodSerializationLookup(method, binaryOptions, jsonOptions, options);
  const binaryOutput = limitSerialization(reuseEncoding(lookup.getO(true)), options);
  const binaryInput = blaming(lookup.getI(true));
  return {
    getI: (isBinary) => (isBinary ? binaryInput : lookup.getI(false)),
    getO: (isBinary) => (isBinary ? binaryOutput : lookup.getO(false)),
  };
}

function blaming({ parse, serialize }: Serialization<Message>): Serialization<Message> {
  return {
    parse(bytes) {
      try {
        return parse(bytes);
      } catch (error) {
        throw error instanceof ConnectError ? blameSender(error) : error;
      }
    },
    serialize,
  };
}

/** The absolute URLs of a method. Clients ask for the same one again and again, so the last one is remembered. */
class MethodUrl {
  readonly #path: string;
  #scheme = "";
  #authority = "";
  #url: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @returns undefined if the authority is none */
  at(scheme: string, authority: string): string | undefined {
    if (authority !== this.#authority || scheme !== this.#scheme) {
      this.#url = URL.parse(this.#path, `${scheme}://${authority}`)?.href;
      this.#scheme = scheme;
      this.#authority = authority;
    }
    return this.#url;
  }
}
