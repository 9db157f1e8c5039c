// Prints, for each file named, what the AsyncAPI parser has against it, as JSON; warnings and errors alike.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
const found = {};
for (const path of process.argv.slice(2)) {
  const { diagnostics } = await parser.parse(await readFile(path, "utf8"), { source: path });
  found[path] = diagnostics.map(({ severity, code, path: where, message }) => ({
    severity: ["error", "warning", "information", "hint"][severity],
    code,
    where: where.join("."),
    message,
  }));
}
console.log(JSON.stringify(found));
