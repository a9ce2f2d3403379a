"""Which language a text is probably in: by its commonest small words. A light guess, to find mistakes with.

Short texts without such words ("lights off") stay undecided, and a word that two lists share counts for both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_STOP_WORDS = {
    "en": "the a an and or is are was were do does did have has had i you he she it we they my your "
    "this that to of in on for with at from not what how when where why who can could would "
    "should will please there be been but if me am its so very "
    "as by no more his her them than about like just one all out up when some which into",
    "es": "el la los las un una unos unas y o es son era fue estoy está esta están esto ese eso yo tú "
    "mi tu su de del al en por para con sin no que qué cómo como cuándo dónde quién puedo puedes "
    "puede quiero hay me se te lo le muy pero si más ya ha he nos",
    "de": "der die das den dem ein eine einen einem und oder ist sind war waren ich du er sie es wir "
    "ihr mein dein nicht auf aus bei mit nach von zu zum zur wie was wann wo warum wer kann "
    "könnte bitte sehr aber auch für im",
    "fr": "le la les un une des et ou est sont était je tu il elle nous vous ils mon ton ce cette de du "
    "au aux en dans pour avec sans pas que quoi comment quand où qui peux peut très mais si ne "
    "plus c'est",
    "it": "il lo la gli le un uno una e o è sono era io tu lui lei noi voi mio tuo questo quello di del "
    "della al alla in nel nella per con senza non che cosa come quando dove chi posso può molto "
    "ma se più",
    "pt": "o a os as um uma e ou é são era eu tu ele ela nós você meu seu isto isso de do da dos das ao "
    "em no na para por com sem não que como quando onde quem posso pode muito mas se mais já",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _words in _STOP_WORDS.items():
    for _word in _words.split():
        _LANGUAGES_OF.setdefault(_word, []).append(_language)
_CLEAR_HITS = 2


def guess_language(text: str) -> str | None:
    """``en``, ``es``, ``de``, ``fr``, ``it`` or ``pt``; None unless one has clearly the most small words.

    Clearly: at least two more than any other language.
    """
    hits = _hits(text)
    ranked = hits.most_common(2)
    if not ranked:
        return None
    second = ranked[1][1] if len(ranked) > 1 else 0
    return ranked[0][0] if ranked[0][1] - second >= _CLEAR_HITS else None


def guess_language_of_all(texts: Iterable[str]) -> str | None:
    """The language with the most small words in all texts together; None without any."""
    hits: Counter[str] = Counter()
    for text in texts:
        hits.update(_hits(text))
    return hits.most_common(1)[0][0] if hits else None


def _hits(text: str) -> Counter[str]:
    words = re.findall(r"[^\W\d_]+(?:'\w+)?", text.lower())
    return Counter(language for word in words for language in _LANGUAGES_OF.get(word, ()))
