// Texts to try, written for this page.
export const SAMPLES = [
  {
    name: "The 6:40 train",
    language: "en",
    text: `I used to hate the 6:40 train. Everyone on it looked the way I felt, which is to say badly ironed. Then in March my regular seat got taken by a man with a tortoise in a shoebox, and because I was too sleepy to be polite I just asked. The tortoise was called Gerald. He was going to the vet in Lewes about his beak.

Three weeks later Gerald was on the train again, beak fixed, and half the carriage said hello. Somebody had brought a dandelion. I still wouldn't call it my favourite part of the day, but I iron my shirts now.`,
  },
  {
    name: "Why reading matters",
    language: "en",
    text: `Reading plays an important role in personal growth and lifelong learning. First, it exposes readers to new ideas and perspectives, which helps them to understand the world more deeply. Second, it strengthens vocabulary and improves writing skills, both of which are essential in education and in professional life.

In addition, reading offers a valuable opportunity to relax and to reduce stress. By setting aside a few minutes each day, individuals can build a habit that supports their mental well-being. In conclusion, reading is not only a source of knowledge but also a powerful tool for a balanced and meaningful life.`,
  },
  {
    name: "Sabah vapuru",
    language: "tr",
    text: `Vapurun üst katına kışın kimse çıkmaz, ben çıkarım. Çaycı beni tanır artık; elinde tepsiyle merdivenin başında durup "yine mi sen" der gibi bakar. Geçen salı yanıma bir martı oturdu, ama öyle simit dilenen cinsten değil, ağırbaşlı, emekli memur gibi bir martı.

Karaköy'e kadar ikimiz de konuşmadık. İskeleye yanaşırken kalktı, kanadını silkeledi, gitti. Çaycıya anlattım, inanmadı. Olsun. O günden beri cebimde fazladan yarım simit taşıyorum; gelirse ayıp olmasın diye. Annem duysa paltoya kırıntı doldurduğum için söylenir, haklı da olur.`,
  },
  {
    name: "Spor ve sağlık",
    language: "tr",
    text: `Düzenli spor yapmak, sağlıklı bir yaşamın temel unsurlarından biridir. Öncelikle, fiziksel aktivite kalp ve damar sağlığını destekler ve bağışıklık sistemini güçlendirir. Bunun yanı sıra, spor yapmak stresin azaltılmasına ve uyku kalitesinin artırılmasına önemli ölçüde katkı sağlar.

Ayrıca, düzenli egzersiz bireylerin zaman yönetimi ve disiplin gibi becerilerini geliştirmesine yardımcı olur. Haftada en az üç gün yapılan hafif egzersizler bile uzun vadede olumlu sonuçlar doğurabilir. Sonuç olarak, spor hem beden hem de ruh sağlığı açısından vazgeçilmez bir alışkanlıktır.`,
  },
];
