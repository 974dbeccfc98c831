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
import { findUnaryHooks, type UnaryHooks } from "./unary-hooks.ts";

export type UnarySpec = Extract<MethodImplSpec, { kind: "unary" }>;

/** A unary method, with everything that its calls share. */
export interface UnaryMethod {
  readonly spec: UnarySpec;
  readonly options: UniversalHandlerOptions;
  /** The hooks of the interceptors; undefined if an interceptor has none. */
  readonly hooks: readonly UnaryHooks[] | undefined;
  readonly serialization: MethodSerializationLookup<DescMessage, DescMessage>;
  /** connect-node's handler of the same method, which lists the allowed protocols and HTTP methods. */
  readonly handler: UniversalHandler;
  readonly url: MethodUrl;
}

/**
 * Collects the unary methods that the routes register on connect-node's router.
 *
 * @returns routes for connect-node, and a map from URL paths to unary methods; the map is filled when the routes are
 * called
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
    // The method that is registered last on a path replaces the previous one.
    methods.delete(path);
    if (spec.kind !== "unary") return;
    const own = validateUniversalHandlerOptions({ ...defaults, ...routeOptions });
    const serialization = createSerialization(spec, own);
    const hooks = findUnaryHooks(own.interceptors);
    methods.set(path, { spec, options: own, hooks, serialization, handler, url: new MethodUrl(path) });
  };

  const routes = (router: ConnectRouter) => {
    const collectingRouter: ConnectRouter = {
      handlers: router.handlers,
      service(service, implementation, routeOptions) {
        router.service(service, implementation, routeOptions);
        const { methods: specs } = createServiceImplSpec(service, implementation);
        for (const spec of Object.values(specs)) collect(router, spec, routeOptions);
        return collectingRouter;
      },
      rpc(method, implementation, routeOptions) {
        router.rpc(method, implementation, routeOptions);
        collect(router, createMethodImplSpec(method, implementation), routeOptions);
        return collectingRouter;
      },
    };
    options.routes(collectingRouter);
  };
  return { routes, methods };
}

/**
 * Creates connect's serialization with two differences: an answer that is already encoded is not encoded again, and a
 * message that cannot be decoded is INVALID_ARGUMENT.
 */
function createSerialization(
  { method }: UnarySpec,
  options: UniversalHandlerOptions,
): MethodSerializationLookup<DescMessage, DescMessage> {
  const { binaryOptions, jsonOptions } = options;
  const lookup = createMethodSerializationLookup(method, binaryOptions, jsonOptions, options);
  const binaryOutput = limitSerialization(reuseEncoding(lookup.getO(true)), options);
  const binaryInput = withInvalidArgument(lookup.getI(true));
  return {
    getI: (isBinary) => (isBinary ? binaryInput : lookup.getI(false)),
    getO: (isBinary) => (isBinary ? binaryOutput : lookup.getO(false)),
  };
}

function withInvalidArgument({ parse, serialize }: Serialization<Message>): Serialization<Message> {
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

/** The absolute URL of a method. Caches the last one, because clients use the same authority repeatedly. */
class MethodUrl {
  readonly #path: string;
  #scheme = "";
  #authority = "";
  #url: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @returns undefined if the authority is invalid */
  at(scheme: string, authority: string): string | undefined {
    if (authority !== this.#authority || scheme !== this.#scheme) {
      this.#url = URL.parse(this.#path, `${scheme}://${authority}`)?.href;
      this.#scheme = scheme;
      this.#authority = authority;
    }
    return this.#url;
  }
}
