# words.tsv: invented words of three invented languages
import random

R = random.Random(77)
LANGS = {
    'oluan': (['l', 'm', 'n', 'v', 'r', 's', 'w', 'h'], ['a', 'o', 'u', 'ua', 'ei'], ['', '', '', 'n']),
    'kretz': (['k', 'kr', 't', 'st', 'g', 'br', 'r', 's'], ['a', 'e', 'i', 'o'], ['k', 'tz', 'rt', 'x', 'n', '']),
    'tissi': (['t', 's', 'p', 'm', 'n', 'l', 'k', 'r'], ['i', 'e', 'a', 'ii', 'o'], ['', 's', 'l', '', 'n']),
}
rows = set()
for lang, (on, nu, co) in LANGS.items():
    have = 0
    while have < 500:
        w = ''.join(R.choice(on) + R.choice(nu) + R.choice(co) for _ in range(R.randint(1, 3)))
        if len(w) > 2 and (w, lang) not in rows:
            rows.add((w, lang))
            have += 1
rows = sorted(rows)
R.shuffle(rows)
open('words.tsv', 'w').write(''.join('%s\t%s\n' % r for r in rows))
