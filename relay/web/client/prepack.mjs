/**
 * Makes what the npm package holds, in dist/: the module minified, and its types without comments.
 * `npm pack` and `npm publish` run it; `make web` installs the tool that it needs.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";

const at = (path) => new URL(path, import.meta.url);

/** Write a file as a whole: somebody else may be packing. */
async function put(name, text) {
  const aside = at(`dist/${name}.${process.pid}`);
  await writeFile(aside, text);
  await rename(aside, at(`dist/${name}`));
}

/**
 * The types as a compiler reads them, without those that nothing here refers to. What they say in
 * words is in docs/clients.md.
 */
function compact(types) {
  const text = types
    .replace(/\/\*[^]*?\*\//g, "")
    .replace(/\s+/g, " ")
    .replace(/ ?([{}:;,|()=<>?&]) ?/g, "$1")
    .trim();
  const isUsed = (name) => text.match(new RegExp(`\\b${name}\\b`, "g")).length > 1;
  const statements = text.split(/(?=export )/);
  const kept = statements.filter((each) => {
    const named = /^export type (\w+)/.exec(each);
    return !named || isUsed(named[1]);
  });
  return kept.length < statements.length ? compact(kept.join("")) : text;
}

function toolOf(name) {
  try {
    return createRequire(at("../../../build/web/"))(name);
  } catch {
    console.error(`${name} is not there: in the checkout, \`make web\` installs it`);
    process.exit(1);
  }
}

const { minify } = toolOf("terser");
const module = await readFile(at("relay-client.js"), "utf8");
const { code } = await minify(module, { module: true, ecma: 2020, compress: { passes: 3 } });
await mkdir(at("dist/"), { recursive: true });
await put("relay-client.js", code);
await put("relay-client.d.ts", compact(await readFile(at("relay-client.d.ts"), "utf8")));
