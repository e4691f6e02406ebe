"use strict";
const inputs = [...document.querySelectorAll("[data-price]")];
const money = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const show = (row, name, text) => { row.querySelector(`[data-show="${name}"]`).textContent = text; };
const work = () => {
  const price = Object.fromEntries(inputs.map((input) => [input.dataset.price, Number(input.value)]));
  // The same arithmetic as eval.pages.costs.bill; a test compares the two.
  const bill = (row) => {
    const one = price.cores * price.busy * 1000 / Number(row.dataset.milliseconds);
    const instances = price.instances || Math.max(Math.ceil(price.texts_per_second / one - 1e-9), price.least_instances);
    const taken = (Number(row.dataset.memory) + price.other_memory_mb) / 1000;
    const memory = price.memory_mb / 1000 || taken;
    return { instances, memory, carries: instances * one,
      enough: instances * one >= price.texts_per_second && memory >= taken,
      cost: instances * (price.cores * price.price_per_core + memory * price.price_per_gb) };
  };
  for (const table of document.querySelectorAll("table.costs")) {
    const rows = [...table.tBodies[0].rows].filter((row) => row.dataset.milliseconds);
    const first = rows.find((row) => row.dataset.baseline);
    for (const row of rows) {
      const found = bill(row);
      show(row, "instances", found.instances.toLocaleString("en"));
      show(row, "memory", found.memory.toFixed(2));
      show(row, "carries", Math.round(found.carries).toLocaleString("en"));
      show(row, "cost", money(found.cost));
      row.classList.toggle("short", !found.enough);
      const paid = first ? bill(first).cost : 0;
      show(row, "saves", first ? money(paid - found.cost) : "–");
      show(row, "share", first && paid ? `${Math.round(100 * (paid - found.cost) / paid)} %` : "–");
    }
  }
};
for (const input of inputs) { input.disabled = false; input.addEventListener("input", () => { if (input.checkValidity()) work(); }); }
