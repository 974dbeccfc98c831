/** The absolute URLs of a method. Clients ask for the same one again and again, so the last one is remembered. */
export class MethodUrl {
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
