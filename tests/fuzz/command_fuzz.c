/* SPDX-License-Identifier: MIT */
/*
 * How the beam command processes data from others: its arguments, addresses, standard input, and
 * messages that it prints on a terminal or as JSON. Accepted values are within the limits of the
 * manual, lines are those of the input however the input is cut, and printed text can be parsed
 * back and does not control a terminal.
 *
 * The first byte of the input selects the part, the second one an option, and the rest is the data.
 */
#include "../../tools/beam/command.h"
#include <argp.h>
#include <errno.h>
#include <fuzz/fuzz.h>
#include <jansson.h>
#include <locale.h>
#include <message/message.h>
#include <pwd.h>
#include <socket/socket.h>
#include <string.h>

/* ---- Arguments ------------------------------------------------------------------------------- */

enum { WORDS = 32 };

/*
 * Replaces the C library's function, which would query the databases of the machine. There is a
 * single user.
 */
int getpwnam_r(const char *name, struct passwd *entry, char *strings, size_t size, struct passwd **ret)
{
	(void)strings;
	(void)size;
	*entry = (struct passwd){.pw_uid = 7};
	*ret = strcmp(name, "user") == 0 ? entry : NULL;
	return 0;
}

/*
 * Cuts a copy of the input at line ends into the arguments of main(), with a final NULL. Returns
 * the number of arguments.
 */
static int cut_into_words(char *text, char *words[WORDS + 1])
{
	static char name[] = "beam";
	int n = 0;

	words[n++] = name;
	for (char *at = text; at && n < WORDS; n++)
		words[n] = strsep(&at, "\n");
	words[n] = NULL;
	return n;
}

static void check_options(const struct command *command, beam_deadline begin)
{
	struct beam_channel_options channel = endpoint_options();
	bool talks = command->bit & (LISTEN | CONNECT);

	must(options.n_arguments + 1 >= (size_t)command->least && options.n_arguments + 1 <= (size_t)command->most);
	must(options.address && !options.arguments[options.n_arguments]);
	for (size_t i = 0; i < options.n_arguments && (i == 0 || talks); i++)
		must(*options.arguments[i] && strlen(options.arguments[i]) <= BEAM_TOPIC_NAME_MAX);
	must(options.processes >= 1 && options.processes <= 4096);
	must(options.limit >= 1 << 20 && options.limit <= 1 << 30);
	must(options.mode <= 0777);
	must(options.n_sources <= BEAM_MESSAGE_ATTACHMENTS_MAX);
	for (size_t i = 0; i < options.n_sources; i++)
		must(options.sources[i].path || options.sources[i].fd >= 0);
	must(options.patience >= -1 && options.deadline.ns >= begin.ns);
	must((command->bit == SERVE || options.patience < 0) == (options.deadline.ns == BEAM_FOREVER.ns));
	must(channel.message_bytes == options.limit &&
	     beam_channel_options_check(&channel, &(const char *){NULL}) == 0);
}

/* Parses arguments, starting from the initial options. */
static int parse_anew(const struct command *command, int n, char **words)
{
	static struct options initial;
	static bool begun;

	if (!begun)
		initial = options;
	begun = true;
	options = initial;
	return options_parse(command, n, words, ARGP_SILENT);
}

static void parse_options(unsigned how, char *text, size_t size)
{
	static const struct command *const commands[] = {&command_send,    &command_receive, &command_listen,
							 &command_connect, &command_call,    &command_serve};
	const struct command *command = commands[how % 6];
	beam_deadline begin = beam_in_ms(0);
	char *words[WORDS + 1];
	int n = cut_into_words(text, words);

	(void)size;
	if (parse_anew(command, n, words) == 0)
		check_options(command, begin);
}

/*
 * A number as the manual defines it: digits, and possibly a unit. Returns false if it is none, or
 * does not fit into 64 bits.
 */
static bool read_number(const char *text, bool sized, uint64_t *ret)
{
	static const char units[] = "KMG";
	size_t digits = strspn(text, "0123456789");
	const char *unit = sized && text[digits] ? strchr(units, text[digits]) : NULL;

	*ret = 0;
	for (size_t i = 0; i < digits; i++)
		if (__builtin_mul_overflow(*ret, 10, ret) || __builtin_add_overflow(*ret, text[i] - '0', ret))
			return false;
	if (unit && __builtin_mul_overflow(*ret, UINT64_C(1) << 10 * (unit - units + 1), ret))
		return false;
	return digits > 0 && !text[digits + (unit != NULL)];
}

static void parse_number(unsigned how, char *text, size_t size)
{
	static const struct {
		const struct command *command;
		const char *option;
		uint64_t least, most;
		bool sized;
	} numbers[] = {
	    {&command_receive, "--count", 1, UINT64_MAX, false},
	    {&command_receive, "--limit", 1 << 20, 1 << 30, true},
	    {&command_serve, "--processes", 1, 4096, false},
	    {&command_send, "--fd", 0, INT32_MAX, false},
	};
	char name[] = "beam", option[16], address[] = "a", topic[] = "t", command[] = "c";
	char *words[] = {name, option, text, address, topic, command, NULL};
	unsigned i = how % (sizeof numbers / sizeof numbers[0]);
	bool serves = numbers[i].command == &command_serve;
	uint64_t expected;
	bool is_one = read_number(text, numbers[i].sized, &expected) && expected >= numbers[i].least &&
		      expected <= numbers[i].most;

	(void)size;
	strcpy(option, numbers[i].option);
	words[5] = serves ? command : NULL;
	must((parse_anew(numbers[i].command, serves ? 6 : 5, words) == 0) == is_one);
	if (!is_one)
		return;
	must(i != 0 || options.count == expected);
	must(i != 1 || options.limit == expected);
	must(i != 2 || options.processes == expected);
	must(i != 3 || (options.n_sources == 1 && (uint64_t)options.sources[0].fd == expected));
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static void parse_address(unsigned how, char *text, size_t size)
{
	struct sockaddr_un address;
	size_t length = strlen(text), before = offsetof(struct sockaddr_un, sun_path);
	socklen_t taken = 0;
	int r = socket_address(text, &address, &taken);

	(void)how;
	(void)size;
	must(r == (length == 0 ? -EINVAL : length >= sizeof address.sun_path ? -ENAMETOOLONG : 0));
	if (r < 0)
		return;
	must(taken == before + length + (*text != '@') && taken <= sizeof address);
	must(address.sun_path[0] == (*text == '@' ? '\0' : *text));
	must(memcmp(address.sun_path + 1, text + 1, length) == 0);
}

/* ---- Standard input -------------------------------------------------------------------------- */

/* Each read returns one packet, so packets cut the input into reads. An empty packet is the end. */
static int read_from_packets(const char *text, size_t size, size_t cut)
{
	static int ends[2];

	if (!ends[1])
		must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	for (size_t at = 0, n; at < size; at += n) {
		n = size - at < cut ? size - at : cut;
		must(send(ends[0], text + at, n, MSG_DONTWAIT) == (ssize_t)n);
	}
	must(send(ends[0], "", 0, MSG_DONTWAIT) == 0);
	return ends[1];
}

static void read_input(unsigned how, char *text, size_t size)
{
	/* Only few packets, because the socket's buffer limits their number. */
	size_t cut = how / 2 * 4 + 1 > size / 32 ? how / 2 * 4 + 1 : size / 32, got, at = 0;
	struct input input = {.fd = read_from_packets(text, size, cut), .stop = -1, .deadline = BEAM_NOWAIT};
	const char *read;

	if (how % 2) {
		must(input_whole(&input, &read, &got) == 1);
		must(got == size && (!size || memcmp(read, text, size) == 0));
	} else {
		while (input_line(&input, &read, &got) == 1) {
			const char *end = memchr(text + at, '\n', size - at);

			must(got == (end ? (size_t)(end - text) : size) - at && memcmp(read, text + at, got) == 0);
			at += got + (end != NULL);
		}
		must(at == size);
	}
	input_free(&input);
}

/* ---- What is printed ------------------------------------------------------------------------- */

/* Sets a locale with UTF-8 or without. The C library derives it from the environment otherwise. */
static void choose_locale(bool utf8)
{
	static locale_t locales[2];

	if (!locales[utf8])
		locales[utf8] = newlocale(LC_ALL_MASK, utf8 ? "C.UTF-8" : "C", NULL);
	must(locales[utf8]);
	uselocale(locales[utf8]);
}

/*
 * True if a character of two or three bytes begins here that a terminal could interpret: a C1
 * control, or one that changes the direction of text.
 */
static bool is_obeyed(const unsigned char *at, size_t left)
{
	unsigned point = 0;

	if (left >= 2 && (at[0] & 0xe0) == 0xc0)
		point = (at[0] & 0x1fu) << 6 | (at[1] & 0x3fu);
	else if (left >= 3 && (at[0] & 0xf0) == 0xe0)
		point = (at[0] & 0xfu) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
	return (point >= 0x80 && point < 0xa0) || (point >= 0x202a && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069);
}

static void check_harmless(const char *text, size_t size, bool utf8, bool line)
{
	const unsigned char *at = (const unsigned char *)text;
	json_t *string = json_stringn(text, size);

	/* Jansson checks that the text is UTF-8. */
	must(string);
	json_decref(string);
	for (size_t i = 0; i < size; i++) {
		must((at[i] >= 0x20 && at[i] != 0x7f) || (!line && (at[i] == '\n' || at[i] == '\t')));
		must(at[i] < 0x80 || (utf8 && !is_obeyed(at + i, size - i)));
	}
}

/* Each byte is printed as it is, or as \x and two digits. */
static void check_same(const char *printed, size_t n, const char *text, size_t size)
{
	const char *end = printed + n;

	for (size_t i = 0; i < size; i++) {
		char quoted[8];

		must(printed < end);
		if (*printed == text[i]) {
			printed++;
			continue;
		}
		snprintf(quoted, sizeof quoted, "\\x%02x", (unsigned char)text[i]);
		must(end - printed >= 4 && memcmp(printed, quoted, 4) == 0);
		printed += 4;
	}
	must(printed == end);
}

static void quote(unsigned how, char *text, size_t size)
{
	bool line = how & 1, utf8 = how & 2;
	char *printed = NULL;
	size_t n;
	FILE *out = open_memstream(&printed, &n);

	must(out);
	choose_locale(utf8);
	print_quoted(out, text, size, line);
	must(fclose(out) == 0);
	check_harmless(printed, n, utf8, line);
	check_same(printed, n, text, size);
	free(printed);
}

static int sextet(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	must(at);
	return (int)(at - digits);
}

static void check_base64(const char *text, const char *bytes, size_t size)
{
	must(strlen(text) == (size + 2) / 3 * 4);
	for (size_t i = 0; i < size; i++) {
		const char *four = text + i / 3 * 4 + i % 3;
		int two = sextet(four[0]) << 6 | sextet(four[1]);

		must((unsigned char)(two >> (4 - 2 * (i % 3))) == (unsigned char)bytes[i]);
	}
	must((size % 3 != 1 || strcmp(text + strlen(text) - 2, "==") == 0) &&
	     (size % 3 != 2 || text[strlen(text) - 1] == '='));
}

/*
 * The bytes are printed as text under one key if they are UTF-8, and otherwise in base64 under the
 * other.
 */
static void check_bytes_of(const json_t *object, const char *key, const char *base64_key, const char *bytes,
			   size_t size)
{
	const json_t *plain = json_object_get(object, key), *encoded = json_object_get(object, base64_key);
	json_t *text = json_stringn(bytes, size);

	must(!text == !plain && !plain == (encoded != NULL));
	if (plain)
		must(json_equal(plain, text));
	else
		check_base64(json_string_value(encoded), bytes, size);
	json_decref(text);
}

static void print_json(unsigned how, char *text, size_t size)
{
	/* The topic's name ends at the first NUL, and the payload follows. */
	size_t name = strlen(text), payload = name < size ? size - name - 1 : 0;
	const struct attachment attachments[] = {{.type = "file", .sized = true, .size = how, .saved = text},
						 {.type = "lost", .error = -EMFILE}};
	size_t n = how >> 1 & 1 ? 2 : 0, length;
	struct beam_message *message = message_allocate(payload);
	char *printed = NULL;
	FILE *out = open_memstream(&printed, &length);
	json_t *object;

	must(message && out && message_reserve_fds(message, n) == 0);
	memcpy(message_room(message), text + size - payload, payload);
	message->data = message_room(message);
	message->size = payload;
	for (size_t i = 0; i < n; i++)
		message_put_fd(message, -EMFILE);
	must(json_message(out, text, message, attachments, how & 1) == 0);
	must(fclose(out) == 0);
	must(length > 0 && memchr(printed, '\n', length) == printed + length - 1);
	if (how & 1)
		check_harmless(printed, length - 1, false, true);
	object = json_loadb(printed, length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	must(object);
	check_bytes_of(object, "topic", "topic_base64", text, name);
	check_bytes_of(object, "payload", "payload_base64", text + size - payload, payload);
	must(json_integer_value(json_object_get(object, "size")) == (json_int_t)payload);
	must(json_array_size(json_object_get(object, "attachments")) == n);
	if (n)
		check_bytes_of(json_array_get(json_object_get(object, "attachments"), 0), "saved", "saved_base64", text,
			       name);
	json_decref(object);
	free(printed);
	beam_message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parts[])(unsigned how, char *text, size_t size) = {
	    parse_options, parse_number, parse_address, read_input, quote, print_json};
	char *text;

	if (size < 2)
		return 0;
	/* A string with a final NUL. */
	text = malloc(size - 1);
	must(text);
	memcpy(text, data + 2, size - 2);
	text[size - 2] = '\0';
	parts[data[0] % (sizeof parts / sizeof parts[0])](data[1], text, size - 2);
	free(text);
	return 0;
}
