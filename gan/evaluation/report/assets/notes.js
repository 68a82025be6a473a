// The report's data, and its music unpacked: columns of milliseconds, pitches and velocities.

const report = JSON.parse(document.getElementById('data').textContent);

// An element with attributes, listeners (onclick, ...) and children; text never becomes markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (typeof value === 'function') element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function bytes(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
}

// A sample's notes; unpacked when first asked for and kept.
function notesOf(sample) {
  if (!sample.music) {
    sample.music = {
      count: sample.notes,
      start: new Uint32Array(bytes(sample.start).buffer),
      length: new Uint16Array(bytes(sample.length).buffer),
      pitch: bytes(sample.pitch),
      velocity: bytes(sample.velocity),
      down: new Uint32Array(bytes(sample.down).buffer),
      up: new Uint32Array(bytes(sample.up).buffer),
    };
  }
  return sample.music;
}

// The first place of a sorted column that is not below a value.
function lowerBound(column, value) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// When a note stops sounding, in milliseconds: at its release, or with the pedal that holds it.
function soundsUntil(music, i) {
  const release = music.start[i] + music.length[i];
  const pedal = lowerBound(music.down, release + 1) - 1;
  return pedal >= 0 && music.up[pedal] > release ? music.up[pedal] : release;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
