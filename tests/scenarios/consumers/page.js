// node page.js CHROMIUM FILE...: each page as people see it, as JSON: what axe finds, what was fetched, what ran, what is too wide.
const { readFileSync } = require("fs");
const puppeteer = require("puppeteer-core");

const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const VIEWS = [];
for (const width of [320, 1440]) {
  for (const scheme of ["light", "dark"]) {
    for (const unfolded of [false, true]) VIEWS.push({ width, scheme, media: "screen", unfolded });
  }
}
VIEWS.push({ width: 794, scheme: "light", media: "print", unfolded: false });

async function look(browser, file, view) {
  const page = await browser.newPage();
  const seen = { file, ...view, requests: [], dialogs: [], errors: [] };
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  await page.setViewport({ width: view.width, height: 900 });
  // In one go: puppeteer's own two calls take back each other's.
  const features = [{ name: "prefers-color-scheme", value: view.scheme }];
  await (await page.createCDPSession()).send("Emulation.setEmulatedMedia", { media: view.media, features });
  await page.goto(`file://${file}`, { waitUntil: "networkidle0" });
  if (view.unfolded) await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  Object.assign(seen, await page.evaluate(() => ({
    title: document.title,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    background: getComputedStyle(document.body).backgroundColor,
    text: document.body.innerText.length,
  })));
  await page.evaluate(AXE);
  const result = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  seen.axe = result.testEngine.version;
  seen.passes = result.passes.length;
  seen.violations = result.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes[0].html}`);
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/${file.split("/").pop()}-${view.width}-${view.scheme}-${view.media}-${view.unfolded ? "open" : "folded"}.png`, fullPage: view.media === "screen" && !view.unfolded });
  await page.close();
  return seen;
}

(async () => {
  const [chromium, ...files] = process.argv.slice(2);
  const browser = await puppeteer.launch({ executablePath: chromium, pipe: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  const found = [];
  for (const file of files) for (const view of VIEWS) found.push(await look(browser, file, view));
  console.log(JSON.stringify({ browser: await browser.version(), found }));
  await browser.close();
})();
