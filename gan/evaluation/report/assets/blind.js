// Blind listening: pairs of samples of two systems, sides and order shuffled, names hidden. Choices
// stay in this browser until they are exported; `gan.evaluation.report.ratings` reads the export.

const blindRoom = document.getElementById('blind');
const blindToggle = document.getElementById('blind-toggle');
const storeKey = `jazz-blind-${report.key}`;
const QUESTIONS = { left: 'A is better', tie: 'No difference', right: 'B is better' };
let trial = null; // what is being heard: a pair and its two players
let told = false; // whether names have been shown

// A generator of random numbers that a seed repeats (mulberry32).
function randomOf(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function freshState() {
  const [seed, a, b] = crypto.getRandomValues(new Uint32Array(3));
  const session = a.toString(16).padStart(8, '0') + b.toString(16).padStart(8, '0');
  return { session, seed, listener: '', place: 0, made: 0, choices: [] };
}

function loadState() {
  try {
    return JSON.parse(localStorage.getItem(storeKey)) ?? freshState();
  } catch {
    return freshState(); // no storage here, or none that can be read
  }
}

function keepState() {
  try {
    localStorage.setItem(storeKey, JSON.stringify(state));
  } catch {
    // Without storage the choices last as long as the page is open.
  }
}

let state = loadState();

function playable(system) {
  return report.systems[system].samples.flatMap((sample, n) => (sample.notes ? [n] : []));
}

// Every two systems' samples, in pairs of equal number; each round moves one side on by one.
function pairsOf(round) {
  const random = randomOf(state.seed + 7919 * round);
  const pairs = [];
  report.systems.forEach((_, one) => {
    for (let other = one + 1; other < report.systems.length; other++) {
      const [mine, theirs] = [playable(one), playable(other)];
      const count = mine.length && theirs.length ? Math.max(mine.length, theirs.length) : 0;
      for (let n = 0; n < count; n++) {
        const pair = [
          { system: one, sample: mine[n % mine.length] },
          { system: other, sample: theirs[(n + round) % theirs.length] },
        ];
        pairs.push(random() < 0.5 ? pair : pair.reverse());
      }
    }
  });
  for (let n = pairs.length - 1; n > 0; n--) {
    const other = Math.floor(random() * (n + 1));
    [pairs[n], pairs[other]] = [pairs[other], pairs[n]];
  }
  return pairs;
}

function named({ system, sample }) {
  const found = report.systems[system];
  return { system: found.name, sample: found.samples[sample].title };
}

function choose(choice) {
  const [left, right] = trial.pair.map(named);
  state.choices.push({
    id: `${state.session}-${state.made++}`,
    listener: state.listener,
    time: new Date().toISOString(),
    left,
    right,
    choice,
    place: state.place,
    ratings: trial.ratings.map((form) => Number(new FormData(form).get('rating')) || null),
    heard: trial.players.map((player) => Math.round(10 * player.heard) / 10),
  });
  advance();
}

function advance(steps = 1) {
  state.place += steps;
  keepState();
  showTrial();
  document.getElementById('trial-head').focus();
}

function undo() {
  state.place = state.choices.pop().place;
  advance(0);
}

// A side: its player and a rating of one to five.
function side(letter, sample, marker) {
  const player = new Player(sample, { title: letter, curve: false, marker });
  const scale = [1, 2, 3, 4, 5].map((n) =>
    make('label', {}, make('input', { type: 'radio', name: 'rating', value: n }), String(n)));
  const form = make(
    'form', { class: 'rating' },
    make('fieldset', {}, make('legend', {}, `How good is ${letter}? (optional)`), ...scale),
  );
  const element = make(
    'article', { class: 'player sblind' }, make('h3', {}, letter), player.element, form);
  return { player, form, element };
}

function clearTrial() {
  trial?.players.forEach((player) => player.remove());
  trial = null;
}

function showTrial() {
  clearTrial();
  const count = pairsOf(0).length;
  const pairs = pairsOf(Math.floor(state.place / count));
  const pair = pairs[state.place % count];
  const samples = pair.map(({ system, sample }) => report.systems[system].samples[sample]);
  // Where only one of them has a prompt, its mark would give it away.
  const marker = samples.every((sample) => sample.begins !== null);
  const sides = samples.map((sample, n) => side('AB'[n], sample, marker));
  trial = { pair, players: sides.map((s) => s.player), ratings: sides.map((s) => s.form) };
  const round = Math.floor(state.place / count) + 1;
  const heading = `Pair ${(state.place % count) + 1} of ${count}${round > 1 ? `, round ${round}` : ''}`;
  const button = (words, onclick, more = {}) => make('button', { type: 'button', onclick, ...more }, words);
  const answers = Object.entries(QUESTIONS).map(([choice, words]) =>
    button(words, () => choose(choice), { class: 'answer', 'data-choice': choice }));
  const listener = make('input', {
    id: 'listener', autocomplete: 'off', value: state.listener, maxlength: 60,
    oninput: (event) => { state.listener = event.target.value; keepState(); },
  });
  blindRoom.replaceChildren(
    make('h2', { tabindex: -1, id: 'trial-head' }, 'Which do you like better?'),
    make('p', { class: 'lead' }, `${heading}. Who wrote what is hidden, and sides are shuffled.`),
    make('div', { class: 'sides' }, ...sides.map((s) => s.element)),
    make('div', { class: 'answers' }, ...answers),
    make(
      'div', { class: 'answers small' },
      button('Skip this pair', () => advance()),
      button('Undo the last choice', undo, { disabled: !state.choices.length }),
    ),
    make('p', { id: 'tally', role: 'status' }, tally()),
    make(
      'div', { class: 'answers small' },
      make('label', { for: 'listener' }, 'Your name, if you like'), listener,
      button('Export CSV', () => save('csv'), { id: 'export-csv' }),
      button('Export JSON', () => save('json'), { id: 'export-json' }),
      button(revealWords(), reveal, { id: 'reveal' }),
      button('Start over', startOver),
    ),
    told ? results() : '',
  );
}

// Sides and not systems: the listener stays blind.
function tally() {
  const times = (choice) => state.choices.filter((made) => made.choice === choice).length;
  const count = state.choices.length;
  if (!count) return 'No choices yet.';
  const words = `${count} choice${count > 1 ? 's' : ''}`;
  return `${words} so far: A ${times('left')}, B ${times('right')}, no difference ${times('tie')}.`;
}

function reveal() {
  told = !told;
  document.getElementById('reveal').textContent = revealWords();
  if (told) blindRoom.append(results());
  else document.getElementById('results').remove();
}

function revealWords() {
  return told ? 'Hide who was who' : 'Show who was who';
}

function results() {
  const rows = new Map();
  for (const { left, right, choice } of state.choices) {
    const order = report.systems.map((system) => system.name);
    const swapped = order.indexOf(left.system) > order.indexOf(right.system);
    const [one, other] = swapped ? [right.system, left.system] : [left.system, right.system];
    const key = JSON.stringify([one, other]);
    if (!rows.has(key)) rows.set(key, { one, other, wins: 0, ties: 0, losses: 0 });
    const row = rows.get(key);
    if (choice === 'tie') row.ties++;
    else if ((choice === 'left') !== swapped) row.wins++;
    else row.losses++;
  }
  if (!rows.size) {
    return make('p', { class: 'missing', id: 'results' }, 'Nothing to show: no choices yet.');
  }
  const head = ['', 'better', 'tie', 'worse', ''];
  const lines = [...rows.values()].map(({ one, other, wins, ties, losses }) =>
    make('tr', {}, ...[one, wins, ties, losses, other].map((value, n) =>
      make(n % 4 ? 'td' : 'th', n % 4 ? { class: 'number' } : { scope: 'row' }, String(value)))));
  return make(
    'div', { class: 'wide', id: 'results' }, make('h3', {}, 'Who was who'),
    make(
      'table', { class: 'kept' },
      make('thead', {}, make('tr', {}, ...head.map((word) => make('th', { scope: 'col' }, word)))),
      make('tbody', {}, ...lines),
    ),
  );
}

function startOver() {
  if (state.choices.length && !confirm('Forget all choices made in this browser?')) return;
  state = { ...freshState(), listener: state.listener };
  told = false;
  keepState();
  showTrial();
}

function csvOf(choices) {
  const quoted = (value) => `"${String(value ?? '').replaceAll('"', '""')}"`;
  const head = [
    'id', 'report', 'listener', 'time', 'left_system', 'left_sample', 'right_system', 'right_sample',
    'choice', 'left_rating', 'right_rating', 'left_heard', 'right_heard',
  ];
  const rows = choices.map((made) => [
    made.id, report.title, made.listener, made.time, made.left.system, made.left.sample,
    made.right.system, made.right.sample, made.choice, ...made.ratings, ...made.heard,
  ]);
  return [head, ...rows].map((row) => row.map(quoted).join(',')).join('\n') + '\n';
}

function save(form) {
  // A name given late holds for what was chosen before.
  const choices = state.choices.map((made) => ({ ...made, listener: made.listener || state.listener }));
  const content = form === 'csv'
    ? csvOf(choices)
    : `${JSON.stringify({ format: 1, report: report.title, choices }, null, 1)}\n`;
  const type = form === 'csv' ? 'text/csv' : 'application/json';
  const address = URL.createObjectURL(new Blob([content], { type }));
  const who = state.listener.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 40) || state.session;
  make('a', { href: address, download: `ratings-${who}.${form}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function setBlind(on) {
  players.forEach((player) => player.pause());
  document.getElementById('main').hidden = on;
  document.querySelector('nav').hidden = on;
  document.querySelector('footer').hidden = on;
  blindRoom.hidden = !on;
  document.querySelector('.skip').href = on ? '#blind' : '#main';
  blindToggle.textContent = on ? 'Back to the report' : 'Blind listening';
  if (on) {
    told = false;
    showTrial();
  } else clearTrial();
  scrollTo(0, 0);
}

if (report.systems.filter((_, n) => playable(n).length).length < 2) {
  blindToggle.disabled = true;
  blindToggle.title = 'needs samples of two systems';
}
blindToggle.addEventListener('click', () => setBlind(blindRoom.hidden));
