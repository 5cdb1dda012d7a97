"use strict";
// The routes of the OpenAPI document as a list; nothing is loaded from elsewhere.
(() => {
  const { data, element } = page;
  const words = (text) => text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
  document.getElementById("routes").append(...Object.entries(data.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, route]) => element("section", {},
      element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)),
      element("p", {}, ...words(route.description || route.summary || "")),
      element("ul", {}, ...(route.parameters || []).map((one) => element("li", {}, element("code", {}, one.name), ` in ${one.in}${one.required ? ", required" : ""}`)))))));
})();
