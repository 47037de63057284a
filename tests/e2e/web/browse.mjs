// Opens the page in headless Chromium and prints what its `run` returns.
//
//   node browse.mjs '{"edge": "https://127.0.0.1:8443", "token": "...", ...}'

import { createServer } from "node:http";

import { build } from "esbuild";
import { chromium } from "playwright-core";

const task = JSON.parse(process.argv[2]);
const here = new URL(".", import.meta.url).pathname;
const built = await build({
  entryPoints: [`${here}/page.ts`],
  bundle: true,
  format: "iife",
  target: "es2022",
  write: false,
});
const script = built.outputFiles[0].text;

// Another origin than the edge's, so that CORS is in the way as it is in earnest.
const server = createServer((request, response) => {
  if (request.url === "/page.js") {
    response.setHeader("content-type", "text/javascript");
    response.end(script);
  } else {
    response.setHeader("content-type", "text/html");
    response.end('<!doctype html><title>mesh</title><script src="/page.js"></script>');
  }
});
await new Promise((resolve) => server.listen(task.pagePort ?? 0, "127.0.0.1", resolve));

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  // The mesh has a certificate authority of its own; what it signs is checked by the other clients.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.on("console", (message) => console.error(`page: ${message.text()}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  console.log(JSON.stringify(await page.evaluate((given) => window.run(given), task)));
} finally {
  await browser.close();
  server.close();
}
