import { readFile } from "node:fs/promises";

/** What a reader does: write a file, or run commands, which print something. */
export type Step =
  | { readonly kind: "file"; readonly name: string; readonly content: string }
  | { readonly kind: "run"; readonly commands: string; output: string };

/** The steps of one chapter of a page: its blocks of code, in order. A block without a language is what is printed. */
export async function readSteps(page: string, chapter: string): Promise<Step[]> {
  const text = await readFile(page, "utf8");
  const [, ...chapters] = text.split(/^## /m);
  const body = chapters.find((other) => other.startsWith(`${chapter}\n`));
  if (body === undefined) throw new Error(`${page} has no chapter ${chapter}`);
  const steps: Step[] = [];
  let name: string | undefined;
  for (const [, before = "", language = "", content = ""] of body.matchAll(
    /([^`]*(?:`[^`\n]+`[^`]*)*)^```(\w*)\n(.*?)^```$/gms,
  )) {
    name = /This is `(\S+)`:\s*$/.exec(before)?.[1];
    const last = steps.at(-1);
    if (language === "sh") steps.push({ kind: "run", commands: content, output: "" });
    else if (name !== undefined) steps.push({ kind: "file", name, content });
    else if (language === "" && last?.kind === "run") last.output = content;
    else throw new Error(`${page} does not say what this is:\n${content}`);
  }
  return steps;
}
