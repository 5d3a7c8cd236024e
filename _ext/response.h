/* The phrases of RFC 9110 section 15 and its registry, and the Date line of section 6.6.1. */
#ifndef PRIME_RESPONSE_H
#define PRIME_RESPONSE_H

#include <string.h>
#include <time.h>

static const char *prime_reason(int status) {
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 102: return "Processing";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 207: return "Multi-Status";
    case 208: return "Already Reported";
    case 226: return "IM Used";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 305: return "Use Proxy";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 418: return "I'm a Teapot";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 506: return "Variant Also Negotiates";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 510: return "Not Extended";
    case 511: return "Network Authentication Required";
    default: return NULL;
    }
}

#define PRIME_DATE_LINE_SIZE 37 /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */

/* Not strftime, whose names follow the locale. */
static void prime_write_date(char *to, time_t at) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm utc;
    int year;
    memcpy(to, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", PRIME_DATE_LINE_SIZE);
    if (gmtime_r(&at, &utc) == NULL) return;
    year = utc.tm_year + 1900;
    memcpy(to + 6, days + 3 * utc.tm_wday, 3);
    to[11] = (char)('0' + utc.tm_mday / 10);
    to[12] = (char)('0' + utc.tm_mday % 10);
    memcpy(to + 14, months + 3 * utc.tm_mon, 3);
    to[18] = (char)('0' + year / 1000 % 10);
    to[19] = (char)('0' + year / 100 % 10);
    to[20] = (char)('0' + year / 10 % 10);
    to[21] = (char)('0' + year % 10);
    to[23] = (char)('0' + utc.tm_hour / 10);
    to[24] = (char)('0' + utc.tm_hour % 10);
    to[26] = (char)('0' + utc.tm_min / 10);
    to[27] = (char)('0' + utc.tm_min % 10);
    to[29] = (char)('0' + utc.tm_sec / 10);
    to[30] = (char)('0' + utc.tm_sec % 10);
}

#endif
