// node tap.js FILE: what tap-parser finds in it, strictly, as JSON.
const { readFileSync } = require("fs");
const { Parser } = require("tap-parser");

const found = { points: [], comments: [], extra: [], version: 0 };
const parser = new Parser({ strict: true, bail: false }, (results) => {
  const { ok, count, pass, fail, todo, skip, plan, failures } = results;
  const errors = failures.filter((failure) => failure.tapError).map((failure) => failure.tapError);
  console.log(JSON.stringify({ ...found, ok, count, pass, fail, todo, skip, end: plan.end, errors }));
});
parser.on("version", (version) => (found.version = version));
parser.on("extra", (line) => found.extra.push(line));
parser.on("assert", ({ id, ok, name, todo, skip, diag }) => found.points.push({ id, ok, name, todo, skip, diag }));
parser.end(readFileSync(process.argv[2], "utf8"));
