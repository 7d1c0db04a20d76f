"""Left, right and the parts of the body in other languages, for ``joint_names.py``."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Side = Literal["left", "right"]

_SIDES: dict[Side, str] = {
    "left": "left lft lhs izq links linke linker linkes linken gauche izquierda izquierdo "
    "izquierdos sinistra sinistro esquerda esquerdo vanster venstre lewy lewa lewe lijevo levy "
    "leva levo левый левая левое лев ліва ліве лівий 左 ひだり 왼쪽 왼 izdo izda "
    "izqdo izqda hidari बायां बायाँ बायीं बाईं बाएं बाएँ बायें ซ้าย",
    "right": "right rgt rhs dcha rechts rechte rechter rechtes rechten droite droit derecha "
    "derecho derechos destra destro direita direito hoger hojre hoyre prawy prawa prawe pravy "
    "prava pravo правый правая правое прав права праве правий 右 みぎ 오른쪽 오른 dcho migi "
    "दायां दायाँ दायीं दाईं दाएं दाएँ दायें दाहिना दाहिनी ขวา",
}
_SHORT_SIDES: dict[Side, str] = {
    "left": "sinister port л li izq zuo sx esq sol g lt lft lhs leve levi vasen stanga stang kiri "
    "bal trai esquerre esquerra αριστερο αριστερη αριστερος αριστερα "
    "يسرى اليسرى يسار שמאל שמאלי שמאלית چپ",
    "right": "dexter starboard п re der you dcha dx dir sag d rt rgt rhs prave desni desna desno "
    "oikea dreapta drept kanan jobb phai dret dreta δεξι δεξια δεξιο δεξιος "
    "يمنى اليمنى يمين ימין ימני ימנית راست",
}
_PARTS: dict[str, str] = {
    "nose": "nase nez nariz naso neus nos нос 鼻 鼻子 코",
    "eye": "auge oeil ojo occhio olho oog oga oko глаз 目 眼 眼睛 눈",
    "ear": "ohr oreille oreja orecchio orelha oor ore ora ucho ухо 耳 耳朵 귀",
    "shoulder": "schulter epaule hombro spalla ombro schouder axel skulder плечо 肩 肩膀 어깨",
    "elbow": "ellbogen ellenbogen coude codo gomito cotovelo elleboog armbage albue lokiec локоть "
    "肘 手肘 팔꿈치",
    "wrist": "handgelenk poignet muneca polso pulso punho pols handled nadgarstek "
    "запястье 手首 手腕 손목",
    "hip": "hufte huefte hanche cadera anca quadril heup hoft hofte biodro бедро 腰 臀 臀部 엉덩이",
    "knee": "knie genou rodilla ginocchio joelho kna knae kne kolano колено 膝 膝盖 무릎",
    "ankle": "knochel knoechel sprunggelenk fussgelenk fussknochel cheville tobillo caviglia "
    "tornozelo enkel ankel kostka лодыжка 足首 脚踝 발목",
    "neck": "hals nacken cou cuello collo pescoco nek шея 首 脖子 목",
    "head": "kopf tete cabeza testa cabeca hoofd huvud hode glowa голова 頭 头 머리",
}
_UNSEPARATED_SIDE = re.compile("[左右]|왼쪽|오른쪽|^왼|^오른|ひたり|みき|ซาย|ขวา")  # without marks
_OTHER_LETTERS = str.maketrans(
    {"œ": "oe", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "ı": "i"}
)


def in_latin_letters(text: str) -> str:
    """Return text with plain letters for those with accents, so that hüfte reads hufte.

    Where words are not separated, as in Chinese, a side is: 左眼 becomes 左 眼.
    """
    decomposed = unicodedata.normalize("NFKD", text.translate(_OTHER_LETTERS))
    plain = "".join(one for one in decomposed if not unicodedata.combining(one))
    plain = unicodedata.normalize("NFKC", plain)
    return _UNSEPARATED_SIDE.sub(r" \g<0> ", plain).strip()


def _by_word(table: dict[Side, str]) -> dict[str, Side]:
    return {in_latin_letters(word).strip(): side for side in table for word in table[side].split()}


SIDE_WORDS = _by_word(_SIDES)
"""Words that name a side by themselves."""
SHORT_SIDE_WORDS = _by_word(_SHORT_SIDES)
"""Short words and letters that name a side only if both are there."""
PART_WORDS: dict[str, str] = {
    in_latin_letters(word): part for part, words in _PARTS.items() for word in words.split()
}
"""Words of other languages for the joints of a person, in English."""
