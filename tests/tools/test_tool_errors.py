"""What a user gets wrong ends in one line, whatever the tool."""

import re

import pytest

CLS = 'cls_vmamba-nano_handwriting'
FLOPS = 'analysis_tools/get_flops.py'
ERF = 'analysis_tools/vis_erf.py'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('train.py', '{file}'), r"config '.*taken\.jpg' cannot be read"),
        (('train.py', CLS, '--launcher', 'pytorch'), 'run tools/dist_train.sh'),
        ((FLOPS, CLS, '--cfg-options', 'model.backbone.nope=1'), "VMamba got an unexpected keyword argument 'nope'"),
        ((FLOPS, CLS, '--cfg-options', 'model.backbone.arch=zebra'), "arch 'zebra' is not one of"),
        ((FLOPS, CLS, '--cfg-options', 'model.backbone.scan=zebra'), "scan or route 'zebra' is unknown"),
        ((FLOPS, CLS, '--size', '32', '32', '--out', '{folder}'), 'Is a directory: .* name another path'),
        ((ERF, CLS, '--num-images', '1', '--size', '32', '32', '--index', '9'), 'map 9 does not exist'),
        (('analysis_tools/scan_gallery.py', '--out', '{file}'), 'File exists: .* name another path'),
        (('misc/prepare_handwriting.py', '--out', '{file}'), 'Not a directory: .* name another path'),
        (('misc/prepare_handwriting.py', '--out', '{folder}'), 'is not the handwriting data'),
        (('misc/print_config.py', CLS, '--save-path', '{folder}/c.txt'), r'must end in \.py, \.json, \.yml'),
        (('misc/model_zoo.py', '--root', 'nope'), "'nope/model-index.yml' does not exist"),
    ],
    ids=lambda value: ' '.join(value[:2]) if isinstance(value, tuple) else None,
)
def test_it_is_one_line(arguments, message, run_tool, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    file = tmp_path / 'taken.jpg'
    file.write_text('no image')
    with pytest.raises(SystemExit, match=f'error: .*{message}') as ended:
        run_tool(*(argument.format(file=file, folder=tmp_path) for argument in arguments))
    assert '\n' not in ended.value.code


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((ERF, CLS, '--device', 'toaster'), "'toaster' is not cpu, cuda, cuda:1"),
        ((ERF, CLS, '--device', 'cuda:99'), r"'cuda:99': this machine has \w+ CUDA devices"),
        ((FLOPS, CLS, '--batch', '0'), "'0' is not a whole number above 0"),
        (('analysis_tools/benchmark_scans.py', '--cfg-options', 'nope'), 'cannot be read: nope'),
    ],
    ids=lambda value: ' '.join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_an_argument_is_refused(arguments, message, run_tool, capsys):
    with pytest.raises(SystemExit):
        run_tool(*arguments)
    assert re.search(message, capsys.readouterr().err)
