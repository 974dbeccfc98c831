import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

/** One header of a request; null if there is none, as Headers has it. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | null {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : (value ?? null);
}

/** The headers of a request, without the pseudo-headers of HTTP/2. */
export function toWebHeaders(headers: IncomingHttpHeaders): Headers {
  const converted = new Headers();
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || name.startsWith(":")) continue;
    if (typeof value === "string") converted.append(name, value);
    else for (const one of value) converted.append(name, one);
  }
  return converted;
}

/** Headers or trailers of an answer. */
export function toNodeHeaders(headers: Headers): OutgoingHttpHeaders {
  const converted: OutgoingHttpHeaders = {};
  headers.forEach((value, name) => {
    const existing = converted[name];
    if (existing === undefined) converted[name] = value;
    else if (Array.isArray(existing)) existing.push(value);
    else converted[name] = [String(existing), value];
  });
  return converted;
}
