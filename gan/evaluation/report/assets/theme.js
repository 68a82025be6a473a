// The colour scheme: the system's own until a person chooses. Runs first, so that nothing flashes.
'use strict';
{
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let chosen = null;
  const show = (theme) => {
    root.dataset.theme = theme;
    const button = document.getElementById('theme-toggle');
    if (button) {
      button.textContent = theme === 'dark' ? 'Light' : 'Dark';
      button.setAttribute('aria-label', theme === 'dark' ? 'Light colours' : 'Dark colours');
    }
    dispatchEvent(new Event('themechange'));
  };
  const theme = () => chosen ?? (dark.matches ? 'dark' : 'light');
  show(theme());
  dark.addEventListener('change', () => show(theme()));
  // Paper is white.
  addEventListener('beforeprint', () => show('light'));
  addEventListener('afterprint', () => show(theme()));
  addEventListener('DOMContentLoaded', () => {
    document.getElementById('theme-toggle').addEventListener('click', () => {
      chosen = theme() === 'dark' ? 'light' : 'dark';
      show(chosen);
    });
    show(theme());
  });
}
