// What an axe-style check needs of a page, by computed styles: run as a function body, answers {texts, controls, parts, problems}.
const problems = [];
function rgba(color) {
  const m = color.match(/^rgba?\(([\d.]+), ([\d.]+), ([\d.]+)(?:, ([\d.]+))?\)$/);
  if (!m) { problems.push('a color that is no rgb: ' + color); return [0, 0, 0, 1]; }
  return [Number(m[1]), Number(m[2]), Number(m[3]), m[4] === undefined ? 1 : Number(m[4])];
}
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
function luminance(c) {
  const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ratio(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}
function background(e) {
  if (!e) return [255, 255, 255, 1];
  const own = rgba(getComputedStyle(e).backgroundColor);
  return own[3] >= 1 ? own : over(own, background(e.parentElement));
}
function shown(e) {
  return e.checkVisibility({opacityProperty: true, visibilityProperty: true}) && e.getClientRects().length > 0 && !e.closest('.hidden');
}
const name = (e) => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + (e.className && e.className.baseVal === undefined ? '.' + e.className : '');
const texts = [], controls = [], parts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const e = node.parentElement;
  if (!node.data.trim() || e.tagName === 'SCRIPT' || e.tagName === 'OPTION' || !shown(e)) continue;
  const style = getComputedStyle(e), px = parseFloat(style.fontSize), large = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700);
  const below = background(e);
  texts.push({what: name(e), text: node.data.trim().slice(0, 40), px, ratio: ratio(over(rgba(style.color), below), below), wanted: large ? 3 : 4.5});
}
for (const e of document.querySelectorAll('button, input, select, textarea, a[href], summary')) {
  if (!shown(e) || e.matches('.skip')) continue;
  const style = getComputedStyle(e), box = e.getBoundingClientRect(), below = background(e.parentElement);
  if (e.placeholder && !e.value) {
    const own = background(e), color = over(rgba(getComputedStyle(e, '::placeholder').color), own);
    texts.push({what: name(e) + '::placeholder', text: e.placeholder, px: parseFloat(style.fontSize), ratio: ratio(color, own), wanted: 4.5});
  }
  const field = e.matches('input:not([type=range]), select, textarea');
  controls.push({what: name(e), width: box.width, height: box.height, border: field ? ratio(over(rgba(style.borderTopColor), below), below) : 21});
}
for (const e of document.querySelectorAll('.bar > i, .key')) {
  if (!shown(e)) continue;
  const below = background(e.parentElement);
  parts.push({what: name(e), ratio: ratio(background(e), below)});
}
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push('the id ' + id + ' is there twice');
for (const attribute of ['for', 'aria-controls', 'aria-labelledby', 'aria-describedby']) {
  for (const e of document.querySelectorAll('[' + attribute + ']')) {
    for (const id of e.getAttribute(attribute).split(' ')) if (!ids.includes(id)) problems.push(name(e) + ' ' + attribute + ' names a missing ' + id);
  }
}
if (!document.documentElement.lang) problems.push('the page has no language');
if (document.querySelectorAll('main').length !== 1 || document.querySelectorAll('h1').length !== 1) problems.push('one main and one h1');
if (/user-scalable|maximum-scale/.test(document.querySelector('meta[name=viewport]').content)) problems.push('the page forbids zooming');
for (const e of document.querySelectorAll('[tabindex]')) if (e.tabIndex > 0) problems.push(name(e) + ' has a tabindex above 0');
for (const e of document.querySelectorAll('img:not([alt]), svg:not([aria-hidden]):not([role])')) problems.push(name(e) + ' has no text in its place');
let level = 0;
for (const e of document.querySelectorAll('h1, h2, h3, h4')) {
  if (Number(e.tagName[1]) > level + 1) problems.push(name(e) + ' skips a level');
  level = Number(e.tagName[1]);
}
return {texts, controls, parts, problems};
