// The page: reads the index, and a service's document when it is looked at.

import { coloured, example, h, inline, inside, prose, shortName, typeOf } from "./text.js";

const VERBS = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
const nav = document.getElementById("nav");
const main = document.getElementById("main");
const search = document.getElementById("search");
const documents = new Map();
let services = [];

class Refused extends Error {
  constructor(status) {
    super(`The edge answered ${status}.`);
    this.status = status;
  }
}

async function fetched(url) {
  const token = sessionStorage.getItem("token");
  const answer = await fetch(url, { headers: token ? { authorization: `Bearer ${token}` } : {} });
  if (!answer.ok) throw new Refused(answer.status);
  return answer.json();
}

function documentOf(service) {
  if (!documents.has(service.name)) documents.set(service.name, fetched(service.url));
  return documents.get(service.name);
}

// ---- Pieces

const chip = (text, kind = "") => h(`span.chip${kind && "." + kind}`, {}, text);
const verb = (name) => h(`span.verb.${name}`, {}, name === "delete" ? "del" : name);
const day = (time) => new Date(time).toISOString().slice(0, 10);

function ending(lifecycle, deprecated) {
  if (!lifecycle && !deprecated) return null;
  const { deprecateTime, sunsetTime, successor, link } = lifecycle ?? {};
  return h(".ending", { role: "note" },
    h("b", {}, "Deprecated"),
    deprecateTime && ` since ${day(deprecateTime)}`,
    sunsetTime && [", gone after ", h("time", { datetime: sunsetTime }, day(sunsetTime))],
    ".",
    successor && [" Use ", h("code", {}, successor), " instead."],
    link && [" ", h("a", { href: link, rel: "noreferrer" }, "Read more")]);
}

function pathOf(text) {
  return h("code.path", {}, text.split(/(\{[^}]+\})/).map((part) =>
    part.startsWith("{") ? h("span.hole", {}, part) : part));
}

function rowsOf(schema, spec, answer) {
  const required = new Set(schema.required ?? []);
  const entries = Object.entries(schema.properties ?? {})
    .filter(([, field]) => !(answer ? field.writeOnly : field.readOnly));
  if (!entries.length) return h("p.quiet", {}, "No fields.");
  return h("ul.fields", {}, entries.map(([name, field]) =>
    fieldRow(name, field, spec, { required: required.has(name), answer })));
}

function fieldRow(name, schema, spec, { required, answer }) {
  const target = inside(schema, spec);
  const row = h("li", {},
    h(".field", {},
      h("code.name", {}, name), h("span.type", {}, typeOf(schema, spec)),
      required && chip("required", "must"), schema.deprecated && chip("deprecated", "old"),
      schema.readOnly && chip("read only")),
    schema.description && h(".said", {}, prose(schema.description)));
  if (target) row.append(unfolding(target, spec, answer));
  return row;
}

function unfolding(target, spec, answer) {
  const box = h("details.inner", {},
    h("summary", {}, target.enum ? `${target.enum.length} values` : "fields"));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1)
      box.append(target.enum ? values(target) : rowsOf(target, spec, answer));
  });
  return box;
}

function values(schema) {
  const said = schema["x-enum-descriptions"] ?? {};
  return h("ul.fields", {}, schema.enum.map((name) =>
    h("li", {}, h("code.name", {}, name), said[name] && h(".said", {}, prose(said[name])))));
}

function shape(schema, spec, answer) {
  const target = inside(schema, spec);
  const list = schema.type === "array" && h("p.quiet", {}, `A list of ${typeOf(schema.items, spec)}.`);
  if (!target) return h("p.quiet", {}, list || typeOf(schema, spec));
  return [list, target.enum ? values(target) : rowsOf(target, spec, answer)];
}

function sample(title, body) {
  const pre = h("pre", {}, body);
  const copy = h("button.copy", { type: "button", onclick: async () => {
    await navigator.clipboard?.writeText(pre.textContent);
    copy.textContent = "copied";
  } }, "copy");
  return h("figure.sample", {}, h("figcaption", {}, title, copy), pre);
}

// ---- An operation

const schemaOf = (body) => Object.values(body?.content ?? {})[0]?.schema;

function call(path, name, operation, spec) {
  const body = schemaOf(operation.requestBody);
  const given = body && JSON.stringify(example(body, spec, false), null, 2).replaceAll("'", "\\u0027");
  const authority = location.host.includes(":") ? location.host : `${location.host}:443`;
  const token = "authorization: Bearer $TOKEN";
  if (operation["x-grpc-only"])
    return `grpcurl -H "${token}" \\\n  -d '${given}' \\\n  ${authority} ${operation["x-grpc-method"]}`;
  const lines = [`curl ${name === "get" ? "" : `-X ${name.toUpperCase()} `}"${location.origin}${path}"`];
  lines.push(`-H "${token}"`);
  if (given) lines.push('-H "content-type: application/json"', `-d '${given}'`);
  return lines.join(" \\\n  ");
}

function parameters(operation, spec, where, title) {
  const found = (operation.parameters ?? []).filter((one) => one.in === where);
  return found.length > 0 && h("section", {}, h("h4", {}, title), h("ul.fields", {}, found.map((one) =>
    fieldRow(one.name, { ...one.schema, description: one.description, deprecated: one.deprecated },
      spec, { required: one.required && where !== "path" }))));
}

function details(path, name, operation, spec) {
  const body = schemaOf(operation.requestBody);
  const answer = schemaOf(operation.responses["200"]);
  const streams = operation["x-streaming"];
  const roles = operation["x-roles"];
  return h(".detail", {},
    h(".words", {},
      ending(operation["x-lifecycle"], operation.deprecated),
      prose(operation.description),
      h("p.facts", {},
        h("span", {}, "gRPC ", h("code", {}, operation["x-grpc-method"])),
        streams && h("span", {}, "streams: ", h("b", {}, streams)),
        roles && h("span", {}, "needs one of the roles ", roles.map((one) => [h("code", {}, one), " "])),
        operation.security?.some((one) => !Object.keys(one).length) && h("span", {}, "needs no token")),
      parameters(operation, spec, "path", "Path"),
      parameters(operation, spec, "query", "Query"),
      body && h("section", {}, h("h4", {}, "Request ", h("span.type", {}, typeOf(body, spec))),
        shape(body, spec, false)),
      answer && h("section", {}, h("h4", {}, "Answer ", h("span.type", {}, typeOf(answer, spec)),
        streams && streams !== "client" && chip("one a line")), shape(answer, spec, true)),
      !operation["x-grpc-only"] && h("p.quiet", {}, "Errors come as ", h("code", {}, "google.rpc.Status"), ".")),
    h(".samples", {},
      sample(operation["x-grpc-only"] ? "gRPC" : "curl", call(path, name, operation, spec)),
      answer && sample("Answer", coloured(example(answer, spec, true)))));
}

function operationView(path, name, operation, spec, service) {
  const method = operation["x-grpc-method"];
  const grpcOnly = operation["x-grpc-only"];
  const box = h(`details.operation${operation.deprecated ? ".old" : ""}`, { "data-method": method },
    h("summary", {},
      grpcOnly ? h("span.verb.grpc", {}, "grpc") : verb(name),
      h("span.what", {}, pathOf(path), operation.summary && h("span.short", {}, inline(operation.summary))),
      operation["x-streaming"] && chip("stream"), operation.deprecated && chip("deprecated", "old")));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(details(path, name, operation, spec));
    if (box.open) history.replaceState(null, "", `#/${service.name}/${method}`);
    marked();
  });
  return box;
}

// ---- Views

function operationsOf(spec, tag) {
  return Object.entries(spec.paths).flatMap(([path, item]) =>
    VERBS.filter((name) => item[name]?.tags[0] === tag).map((name) => [path, name, item[name]]));
}

async function serviceView(service, method) {
  const spec = await documentOf(service);
  const sections = spec.tags.map((tag) => {
    const found = operationsOf(spec, tag.name);
    return h("section.api", {},
      h("h2", {}, shortName(tag.name), h("small", {}, tag.name)),
      tag["x-deprecated"] && ending(tag["x-lifecycle"], true),
      h(".lead", {}, prose(tag.description)),
      found.length ? found.map(([path, name, operation]) =>
        operationView(path, name, operation, spec, service))
        : h("p.quiet", {}, "It has registered no descriptors, so its methods aren't known here."));
  });
  main.replaceChildren(
    h("header.title", {},
      h("h1", {}, service.name), chip(service.version),
      h("a.raw", { href: service.url, onclick: raw }, "OpenAPI 3.1")),
    h(".lead", {}, prose(service.description)), ...sections);
  const chosen = method && main.querySelector(`[data-method="${CSS.escape(method)}"]`);
  if (chosen) {
    chosen.open = true;
    chosen.scrollIntoView({ block: "start" });
  } else scrollTo(0, 0);
}

/** Opens the document itself: a link would go without the token. */
async function raw(event) {
  event.preventDefault();
  const text = JSON.stringify(await fetched(event.target.getAttribute("href")), null, 2);
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })),
    download: event.target.getAttribute("href").split("/").pop() });
  link.click();
  URL.revokeObjectURL(link.href);
}

function home() {
  const count = services.flatMap((one) => one.grpcServices).reduce((sum, one) => sum + (one.methods?.length ?? 0), 0);
  main.replaceChildren(
    h("header.hero", {}, h("h1", {}, "API reference"),
      h("p", {}, `${services.length} services, ${count} methods, all at `, h("code", {}, location.origin),
        ": as gRPC, gRPC-Web, and JSON where a path is shown.")),
    h(".cards", {}, services.map((service) => h("a.card", { href: `#/${service.name}` },
      h(".cardhead", {}, h("h2", {}, service.name), chip(service.version)),
      h("p", {}, inline(service.description || "")),
      h("ul", {}, service.grpcServices.map((one) => h("li", {}, shortName(one.name),
        h("span.quiet", {}, ` ${one.methods?.length ?? "?"}`),
        one["x-deprecated"] && chip("deprecated", "old"))))))));
  scrollTo(0, 0);
}

function askForToken(status) {
  const input = h("input", { type: "password", placeholder: "Token", autocomplete: "off", "aria-label": "Token", required: true });
  main.replaceChildren(h("form.token", { onsubmit: (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", input.value.trim());
    documents.clear();
    start();
  } },
  h("h1", {}, status === 403 ? "Not for this token" : "Show a token"),
  h("p", {}, status === 403
    ? "The reference is for other roles than this token has."
    : "What is registered here is shown to those who may call it. The token stays in this tab."),
  h(".line", {}, input, h("button", {}, "Open"))));
  nav.replaceChildren();
}

// ---- Navigation and search

function navigation(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (...texts) => wanted.every((word) => texts.join(" ").toLowerCase().includes(word));
  const shown = services.map((service) => {
    const apis = service.grpcServices.map((api) => {
      const methods = (api.methods ?? []).filter((one) =>
        fits(service.name, api.name, one.name, one.summary ?? "", ...(one.http ?? [])));
      if (wanted.length && !methods.length && !fits(service.name, api.name)) return null;
      return h("li", {}, h(".api", {}, shortName(api.name), api["x-deprecated"] && chip("old", "old")),
        h("ul", {}, methods.map((one) => link(service, api, one))));
    }).filter(Boolean);
    return apis.length > 0 && h("details", { open: wanted.length > 0 || current()[0] === service.name, "data-service": service.name },
      h("summary", {}, h("a", { href: `#/${service.name}` }, service.name)), h("ul", {}, apis));
  }).filter(Boolean);
  nav.replaceChildren(...(shown.length ? shown : [h("p.quiet", {}, "Nothing fits.")]));
  marked();
}

function link(service, api, method) {
  const first = method.http?.[0]?.split(" ")[0].toLowerCase();
  return h("li", {}, h(`a${method.deprecated ? ".old" : ""}`, { href: `#/${service.name}/${api.name}/${method.name}`, title: method.summary },
    first ? verb(first) : h("span.verb.grpc", {}, "grpc"), method.name));
}

const current = () => decodeURIComponent(location.hash).replace(/^#\/?/, "").split(/\/(.*)/s);

function marked() {
  const here = `#/${current().filter(Boolean).join("/")}`;
  for (const one of nav.querySelectorAll("a")) one.classList.toggle("here", one.getAttribute("href") === here);
}

async function show() {
  const [name, method] = current();
  const service = services.find((one) => one.name === name);
  document.title = service ? `${service.name} · API reference` : "API reference";
  try {
    if (service) await serviceView(service, method);
    else home();
    nav.querySelector(`[data-service="${CSS.escape(name)}"]`)?.setAttribute("open", "");
    marked();
  } catch (error) {
    documents.clear();
    failed(error);
  }
}

function failed(error) {
  if (error instanceof Refused && [401, 403].includes(error.status)) askForToken(error.status);
  else main.replaceChildren(h("header.hero", {}, h("h1", {}, "Not now"), h("p", {}, error.message)));
}

async function start() {
  try {
    services = (await fetched("/openapi.json"))["x-services"];
  } catch (error) {
    failed(error);
    return;
  }
  navigation(search.value);
  await show();
}

search.addEventListener("input", () => navigation(search.value));
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") nav.querySelector("ul ul a")?.click();
  if (event.key === "ArrowDown") nav.querySelector("ul ul a")?.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
  }
});
document.getElementById("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
addEventListener("hashchange", show);
start();
