import type { DescField, DescMessage, DescMethod, JsonValue } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createServiceImplSpec,
  type MethodImpl,
} from "@connectrpc/connect";
import { shorten } from "../errors/shorten.ts";
import type { Log } from "../telemetry/log.ts";
import { invalidArgument } from "./invalid-argument.ts";
import { isTimestamp } from "./json-timestamp.ts";

type Routes = (router: ConnectRouter) => void;

/**
 * Checks the JSON of requests for errors that Protobuf's decoder accepts, or reports with too little detail: invalid
 * UTF-8, and times that do not exist. Fields that the schema does not have are ignored; their names are logged at
 * `debug`.
 */
export function withCheckedJson(routes: Routes, log: Log): Routes {
  return (router) => {
    const checking: ConnectRouter = {
      handlers: router.handlers,
      service(service, implementation, options) {
        for (const { method, impl } of Object.values(
          createServiceImplSpec(service, implementation).methods,
        )) {
          // The method and its implementation match: both come from the same specification.
          checking.rpc(method as DescMethod, impl as MethodImpl<DescMethod>, options);
        }
        return checking;
      },
      rpc(method, implementation, options) {
        // connect accepts `textDecoder`, although the type of its options does not have it.
        const jsonOptions = { ...options?.jsonOptions, textDecoder: new CheckingDecoder(method, log) };
        router.rpc(method, implementation, { ...options, jsonOptions });
        return checking;
      },
    };
    routes(checking);
  };
}

/** The maximum number of unknown fields of a request that are logged. */
const maxNamed = 10;

/** Decodes and checks the text of a method's requests. */
class CheckingDecoder {
  readonly #method: DescMethod;
  readonly #log: Log;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true });

  constructor(method: DescMethod, log: Log) {
    this.#method = method;
    this.#log = log;
  }

  /** @throws ConnectError INVALID_ARGUMENT for invalid UTF-8, or a timestamp that does not exist */
  decode(bytes: Uint8Array): string {
    const text = this.#decodeUtf8(bytes);
    const json = parse(text);
    if (json === undefined) return text;
    const { input } = this.#method;
    const unknown: string[] = [];
    checkMessage(input, json, "", {
      badTimestamp: (path) => invalidArgument(input, path, "timestamp.exists", mustExist),
      unknownField: (path) => unknown.length < maxNamed && unknown.push(path),
    });
    if (unknown.length > 0 && this.#log.isLevelEnabled("debug")) {
      const fields = unknown.map(shorten);
      this.#log.debug(
        { method: String(this.#method), fields },
        "ignored unknown fields of a request in JSON",
      );
    }
    return text;
  }

  #decodeUtf8(bytes: Uint8Array): string {
    try {
      return this.#utf8.decode(bytes);
    } catch {
      throw new ConnectError("the request is not valid UTF-8", Code.InvalidArgument);
    }
  }
}

const mustExist = "must be a time that exists, as in 2024-02-29T12:00:00Z or 2024-02-29T12:00:00.5+01:00";

/** @returns undefined for invalid JSON: the decoder reports what is wrong with it */
function parse(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

interface Findings {
  badTimestamp(path: string): Error;
  unknownField(path: string): unknown;
}

function checkMessage(desc: DescMessage, json: JsonValue, path: string, findings: Findings): void {
  if (desc.typeName === "google.protobuf.Timestamp") {
    if (!isTimestamp(json)) throw findings.badTimestamp(path);
    return;
  }
  // Other well-known types have their own JSON format, too.
  if (desc.typeName.startsWith("google.protobuf.") || !isObject(json)) return;
  const fields = fieldsOf(desc);
  for (const name in json) {
    const value = json[name];
    const field = fields.get(name);
    const fieldPath = path === "" ? (field?.name ?? name) : `${path}.${field?.name ?? name}`;
    if (field === undefined) findings.unknownField(fieldPath);
    else if (value !== undefined && value !== null) checkField(field, value, fieldPath, findings);
  }
}

function checkField(field: DescField, value: JsonValue, path: string, findings: Findings): void {
  if (field.message === undefined) return;
  if (field.fieldKind === "message") {
    checkMessage(field.message, value, path, findings);
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries())
      checkMessage(field.message, item, `${path}[${index}]`, findings);
  } else if (isObject(value)) {
    for (const key in value) {
      checkMessage(field.message, value[key] ?? null, `${path}[${JSON.stringify(key)}]`, findings);
    }
  }
}

const fieldsByDesc = new WeakMap<DescMessage, ReadonlyMap<string, DescField>>();

/** The fields of a message, by each name that JSON may use for them. */
function fieldsOf(desc: DescMessage): ReadonlyMap<string, DescField> {
  const known = fieldsByDesc.get(desc);
  if (known) return known;
  const fields = new Map(
    desc.fields.flatMap((field) => [
      [field.name, field],
      [field.jsonName, field],
    ]),
  );
  fieldsByDesc.set(desc, fields);
  return fields;
}

function isObject(json: JsonValue): json is { [name: string]: JsonValue } {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
